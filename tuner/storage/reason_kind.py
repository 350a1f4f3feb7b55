"""The kinds of reasons for which trials end without a value, as they are stored."""

from enum import StrEnum

from optuna.trial import TrialState


class Kind(StrEnum):
    """Why a trial ended without a value: user attribute ``reason_kind``, beside ``reason``."""

    PRUNED = "pruned"
    """The pruner gave it up."""
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    CONSTRAINT = "constraint"
    """A limit of ``study.constraints`` did not hold."""
    INFEASIBLE = "infeasible"
    """The objective said that it cannot be trained, or nobody said why."""
    ERROR = "error"
    """The objective raised."""
    LOST = "lost"
    """Too many of its workers were lost."""
    SET_ASIDE = "set_aside"
    """It was never run, by no fault of the objective's."""

    @property
    def state(self) -> TrialState:
        """As what Optuna stores it: FAIL where the configuration need not be to blame."""
        failed = self in (Kind.ERROR, Kind.LOST, Kind.SET_ASIDE)
        return TrialState.FAIL if failed else TrialState.PRUNED
