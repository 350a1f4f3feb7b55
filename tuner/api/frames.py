"""Trials as pandas data frames; pandas is an extra."""

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tuner.api.trial import Trial
from tuner.config import extras
from tuner.errors import TunerError

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("number", "state", "value", "seconds", "reason", "run_dir")
"""Fields of a trial that have a column each."""
PREFIXES = {"params": "params_", "metrics": "metrics_", "facts": "facts_"}
"""Mappings of a trial, whose keys have a column each with this prefix, as in Optuna."""


def of_trials(trials: Sequence[Trial]) -> "DataFrame":
    """Return a data frame with one row per trial."""
    pandas = _pandas()
    rows = [_row(trial) for trial in trials]
    prefixed = dict.fromkeys(k for row in rows for k in row if k not in COLUMNS)
    return pandas.DataFrame(rows, columns=[*COLUMNS[:3], *prefixed, *COLUMNS[3:]])


def of_curves(trials: Sequence[Trial]) -> "DataFrame":
    """Return a data frame with one row per reported epoch."""
    rows = [
        (trial.number, trial.state, epoch, value)
        for trial in trials
        for epoch, value in sorted(trial.curve.items())
    ]
    return _pandas().DataFrame(rows, columns=["number", "state", "epoch", "value"])


def _row(trial: Trial) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(trial, name) for name in COLUMNS}
    for name, prefix in PREFIXES.items():
        found: Mapping[str, Any] = getattr(trial, name)
        row |= {f"{prefix}{key}": value for key, value in found.items()}
    return row


def _pandas() -> Any:
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        raise TunerError("pandas is not installed", hint=extras.cure("pandas")) from error
