"""What became of a study: every rule that holds whatever was done to its workers."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from tests.chaos.storm import Size, Storm
from tuner.environment import GAVE_WAY
from tuner.study import study
from tuner.study.attempts import REQUEUE, first_number

Line = tuple[str, str, int, int]
"""Configuration, what, epoch, process."""


@dataclass(frozen=True)
class Figures:
    """For the record."""

    disturbances: Counter[str]
    trials: int
    pruned: int
    attempts: int
    lost: int
    epochs: int
    repeated: int
    allowed: int
    unsaved: int
    turns: int
    """Trials that were requeued because the turn of their worker was over."""
    best: float

    def __str__(self) -> str:
        hits = ", ".join(f"{n} {kind}" for kind, n in sorted(self.disturbances.items()))
        return (
            f"{self.trials} configurations ({self.pruned} pruned) in {self.attempts} attempts, "
            f"{self.lost} lost; "
            f"{self.epochs} epochs, {self.repeated} repeated (at most {self.allowed} allowed), "
            f"{self.unsaved} checkpoints for which the disk was full, {self.turns} turns; "
            f"best {self.best:.6f}; {hits}"
        )


def trials_of(url: str, name: str = "mine") -> list[FrozenTrial]:
    opened = study.load(url, name, grace=60, patience=30)
    try:
        return opened.optuna.get_trials()
    finally:
        opened.storage.close()


def ended(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The last attempt of each configuration."""
    return [t for t in trials if REQUEUE not in t.system_attrs]


def read_journal(directory: Path) -> list[Line]:
    lines = (directory / "journal.txt").read_text().splitlines()
    parts = [line.split() for line in lines]
    return [(name, what, int(epoch), int(pid)) for name, what, epoch, pid in parts]


def judge(storm: Storm, undisturbed: list[FrozenTrial]) -> Figures:
    """Raises AssertionError for a rule that was broken."""
    trials = trials_of(storm.backend.url)
    last = ended(trials)
    _check_budget(storm.size, trials, last)
    _check_curves(storm.size, trials, last)
    _check_ends(storm)
    _check_same(last, undisturbed)
    journal = read_journal(storm.directory)
    _check_pruned(storm, last, journal)
    repeated, allowed = _check_repeats(storm, journal)
    return Figures(
        disturbances=Counter(d.kind for d in storm.done),
        trials=len(last),
        pruned=sum(t.state == TrialState.PRUNED for t in last),
        attempts=len(trials),
        lost=storm.size.n_trials - len(last),
        epochs=sum(what == "begin" for _, what, _, _ in journal),
        repeated=repeated,
        allowed=allowed,
        unsaved=sum(what == "unsaved" for _, what, _, _ in journal),
        turns=sum(
            t.system_attrs.get(REQUEUE, {}).get("reason", "").startswith("its turn") for t in trials
        ),
        best=max(t.value for t in last if t.value is not None),
    )


def _check_budget(size: Size, trials: list[FrozenTrial], last: list[FrozenTrial]) -> None:
    states = Counter(t.state for t in last)
    assert states.keys() <= {TrialState.COMPLETE, TrialState.PRUNED}, states
    assert len(last) == size.n_trials, f"{len(last)} of {size.n_trials}"
    assert len({first_number(t) for t in last}) == size.n_trials, "each is ended once"
    assert len({first_number(t) for t in trials}) == size.n_trials


def _check_curves(size: Size, trials: list[FrozenTrial], last: list[FrozenTrial]) -> None:
    """Gapless; and what one attempt has reported, no later one has written over."""
    for trial in last:
        steps = sorted(trial.intermediate_values)
        assert steps == list(range(1, len(steps) + 1)), f"trial {trial.number}: {steps}"
        if trial.state == TrialState.COMPLETE:
            assert len(steps) == size.epochs, f"trial {trial.number}: {steps}"
    attempts = defaultdict(list)
    for trial in trials:
        attempts[first_number(trial)].append(trial)
    for several in attempts.values():
        for before, after in pairwise(several):
            kept = {k: after.intermediate_values.get(k) for k in before.intermediate_values}
            assert kept == before.intermediate_values, (before.number, after.number)
            assert before.params.items() <= after.params.items()


def _check_ends(storm: Storm) -> None:
    """Workers that were not killed have left as designed, and complained of nothing."""
    hit = defaultdict(set)
    for disturbance in storm.done:
        hit[disturbance.pid].add(disturbance.kind)
    for process in storm.free:
        allowed = {0} if storm.size.turn is None else {0, GAVE_WAY}
        if "kill" in hit[process.pid]:
            allowed.add(-9)
        if "terminate" in hit[process.pid]:
            allowed |= {143, -15}
        if "remove" in hit[process.pid]:
            allowed.add(1)
        assert process.returncode in allowed, (process.args, process.returncode, hit[process.pid])
    assert storm.supervisors[-1].returncode == 0
    for path in [*storm.directory.glob("*.log"), *storm.directory.glob("runs/*/logs/*.log")]:
        text = path.read_text(errors="replace")
        assert "Traceback" not in text, f"{path}:\n{text[-6000:]}"
        codes = set(re.findall(r"died \(exit code (-?\d+)\)", text))
        gave_way = set() if storm.size.turn is None else {str(GAVE_WAY)}
        assert codes <= {"-9", "-15", "143"} | gave_way, f"{path}: {codes}\n{text[-3000:]}"
    assert not list(storm.directory.glob("runs/mine/trials/*/.checkpoint*.tmp"))


def _check_same(last: list[FrozenTrial], undisturbed: list[FrozenTrial]) -> None:
    """The same configurations; and the same results, of those that were not pruned."""
    wanted = results(ended(undisturbed))
    assert results(last).keys() == wanted.keys()
    done = results([t for t in last if t.state == TrialState.COMPLETE])
    assert done == {params: wanted[params] for params in done}


def results(trials: list[FrozenTrial]) -> dict[tuple[object, ...], float | None]:
    """Values by parameters."""
    return {tuple(sorted(t.params.items())): t.value for t in trials}


def _check_pruned(storm: Storm, last: list[FrozenTrial], journal: list[Line]) -> None:
    """Stopped for good, with a reason that is on record; nobody has gone on with them."""
    struck = _struck(storm)
    for trial in last:
        if trial.state != TrialState.PRUNED:
            continue
        steps = trial.intermediate_values
        assert trial.value == steps[max(steps)], f"trial {trial.number}"
        assert len(steps) >= 2, f"trial {trial.number} was pruned before its first rung: {steps}"
        name = Path(trial.user_attrs["run_dir"]).name
        beyond = {pid for run, _, epoch, pid in journal if run == name and epoch > max(steps)}
        assert beyond <= struck, f"trial {trial.number} went on beyond {max(steps)}: {beyond}"


def _struck(storm: Storm) -> set[int]:
    """Processes that may have done more than the study knows of."""
    return {d.pid for d in storm.done if d.kind in ("kill", "pause", "remove")}


def _check_repeats(storm: Storm, journal: list[Line]) -> tuple[int, int]:
    """At most one epoch a kill, and each that could not be saved before one.

    Counted for each configuration, from the processes that ran it and were killed or paused for
    longer than the grace period meanwhile.  Returns epochs repeated and allowed.
    """
    struck = _struck(storm)
    repeated = allowed = 0
    by_name = defaultdict(list)
    for line in journal:
        by_name[line[0]].append(line)
    for name, lines in by_name.items():
        begun = Counter(epoch for _, what, epoch, _ in lines if what == "begin")
        again = sum(begun.values()) - len(begun)
        hits = len({pid for *_, pid in lines} & struck)
        unsaved = sum(what == "unsaved" for _, what, _, _ in lines)
        assert again <= hits + unsaved, f"{name}: {again} repeated, {hits} hits\n{lines}"
        finishes = [pid for _, what, _, pid in lines if what == "finish"]
        assert set(finishes[:-1]) <= struck, f"{name} was run to its end twice: {lines}"
        repeated, allowed = repeated + again, allowed + hits + unsaved
    return repeated, allowed
