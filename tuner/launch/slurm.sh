#!/bin/bash
# One task of the array: a worker, started again where it died; the task is requeued where it was
# told to leave while the job is to go on.
place="slurm-$SLURM_ARRAY_JOB_ID-$SLURM_ARRAY_TASK_ID"
task="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" # SLURM_JOB_ID of the last task is the whole array
leaving=
child=

# The time limit is near, or a preemption gives time (where SlurmctldParameters, later
# PreemptParameters, asks for the user's signal; elsewhere nothing is said until that time is over):
# this shell alone is told.
trap 'leaving=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' USR1
# Anything else Slurm tells every process of the task: the worker knows, and a second signal would
# cut its checkpoint short.
trap 'leaving=1' TERM INT

leave() { # exit 143 stands only where Slurm may not requeue
    # RUNNING: the limit is near, or a preemption gives time. A task that was cancelled or preempted
    # at once, or whose time is over, is COMPLETING by now, and Slurm has decided what becomes of it.
    if [ "$(squeue --noheader --jobs="$task" --format=%T)" = RUNNING ]; then
        scontrol requeue "$task"
    fi
    exit 143
}

@SETUP@

export @ENVIRONMENT@
export TUNER_REPLACES="$place" # whatever ran in this place before is gone
# Jobs of others that wait for what this task holds, or for a job of more weight that does so.
waiting="squeue --noheader --states=PENDING --partition=$SLURM_JOB_PARTITION --format='%F %u %r'"
export TUNER_QUEUE="$waiting | grep -E ' (Resources|Priority)$' | grep -v '^$SLURM_ARRAY_JOB_ID '"
longest=@PAUSE@
for ((n = 0; ; n++)); do
    [ -z "$leaving" ] || leave
    TUNER_WORKER_ID="$place.${SLURM_RESTART_COUNT:-0}.$n" @COMMAND@ &
    child=$!
    [ -z "$leaving" ] || kill -TERM "$child" # the signal came before there was a child to tell
    started=$SECONDS
    while kill -0 "$child" 2>/dev/null; do wait "$child"; done # a signal ends a wait early
    wait "$child"
    code=$?
    child=
    case $code in
    0) # nobody needs more workers, so none of those that still wait for a node either
        scancel --quiet --state=PENDING "$SLURM_ARRAY_JOB_ID"
        exit 0
        ;;
    @GAVE_WAY@ | 130 | 143) leave ;;
    esac
    ((n < @MAX_RESTARTS@)) || exit $code
    lived=$((SECONDS - started))
    if ! read -r pause longest < <(@PYTHON@ -m tuner.launch.restarts $code $lived "$longest"); then
        [ -z "$leaving" ] || leave # a signal for the task has ended it
        exit $code # which is fatal
    fi
    echo "the worker died (exit $code); restarting it in $pause s" >&2
    sleep "$pause" &
    child=$! # a signal ends the pause too, also one that came before it began
    [ -z "$leaving" ] || kill -TERM "$child"
    wait "$child"
done
