#!/bin/bash
# One task of the array: a worker, started again where it died; the task is requeued where it was
# told to leave while the job is to go on.
place="slurm-$SLURM_ARRAY_JOB_ID-$SLURM_ARRAY_TASK_ID"
leaving=
worker=

# The time limit is near, or a preemption gives time (where SlurmctldParameters, later
# PreemptParameters, asks for the user's signal; elsewhere nothing is said until that time is over):
# this shell alone is told.
trap 'leaving=1; [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null' USR1
# Anything else Slurm tells every process of the task: the worker knows, and a second signal would
# cut its checkpoint short.
trap 'leaving=1' TERM INT

leave() { # exit 143 stands only where Slurm may not requeue
    # RUNNING: the limit is near, or a preemption gives time. A task that was cancelled or preempted
    # at once, or whose time is over, is COMPLETING by now, and Slurm has decided what becomes of it.
    if [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit 143
}

@SETUP@

export OMP_NUM_THREADS=@THREADS@ MKL_NUM_THREADS=@THREADS@ OMP_WAIT_POLICY=passive
export MALLOC_ARENA_MAX=1 # see launch/local.py
export GLIBC_TUNABLES="${GLIBC_TUNABLES:+$GLIBC_TUNABLES:}glibc.malloc.hugetlb=1"
export TUNER_REPLACES="$place" # whatever ran in this place before is gone
for ((n = 0; ; n++)); do
    [ -z "$leaving" ] || leave
    TUNER_WORKER_ID="$place.${SLURM_RESTART_COUNT:-0}.$n" @COMMAND@ &
    worker=$!
    while kill -0 "$worker" 2>/dev/null; do wait "$worker"; done # a signal ends a wait early
    wait "$worker"
    code=$?
    worker=
    case $code in
    0) # nobody needs more workers, so none of those that still wait for a node either
        scancel --quiet --state=PENDING "$SLURM_ARRAY_JOB_ID"
        exit 0
        ;;
    1 | 2) exit $code ;; # another start would end the same way
    130 | 143) leave ;;
    esac
    ((n < @MAX_RESTARTS@)) || exit $code
    echo "the worker died (exit $code); new one in $((1 << n)) s" >&2
    sleep $((1 << n))
done
