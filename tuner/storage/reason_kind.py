"""The kinds of reasons for which trials end without a value, as they are stored."""

from enum import StrEnum

from optuna.trial import TrialState


class Kind(StrEnum):
    """Why a trial ended without a value: user attribute ``reason_kind``, beside ``reason``."""

    PRUNED = "pruned"
    """The pruner stopped it."""
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    CONSTRAINT = "constraint"
    """A limit of ``study.constraints`` was violated."""
    INFEASIBLE = "infeasible"
    """The objective raised ``Infeasible``, or the reason is unknown."""
    ERROR = "error"
    """The objective raised an exception."""
    LOST = "lost"
    """Too many of its workers were lost."""
    SET_ASIDE = "set_aside"
    """It was never run, and the objective is not at fault."""

    @property
    def state(self) -> TrialState:
        """Optuna's state of such a trial: FAIL if the configuration may not be at fault."""
        failed = self in (Kind.ERROR, Kind.LOST, Kind.SET_ASIDE)
        return TrialState.FAIL if failed else TrialState.PRUNED
