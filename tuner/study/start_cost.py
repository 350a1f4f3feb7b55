"""What the start of a worker costs, and the turns (``worker.turn``) that are long enough for it."""

from tuner.errors import ConfigError
from tuner.study.study import Study

NOTED = "start_seconds"
"""User attribute of a study: what the last start of a worker cost."""

TIMES = 10
"""A turn is at least this multiple of a start, so that giving way costs at most a tenth."""


def note(study: Study, seconds: float) -> None:
    """Store the seconds that a start has taken."""
    study.storage.set_study_user_attr(study.id, NOTED, round(seconds, 2))


def is_too_short(minutes: float, seconds: float) -> bool:
    """Return whether a turn is too short compared with a start, both in the given units."""
    return 60 * minutes < TIMES * seconds


def describe(minutes: float, seconds: float) -> str:
    """Describe a turn and its cost, such as ``30 min, of which a start takes 12 s (0.7 %)``."""
    share = 100 * seconds / (60 * minutes)
    return f"{minutes:g} min, of which a start takes {seconds:.1f} s ({share:.1f} %)"


def check(study: Study, minutes: float | None) -> None:
    """Raise ``ConfigError`` if a turn is too short for the last start of a worker of the study."""
    seconds = study.attrs.get(NOTED)
    if minutes is not None and seconds is not None and is_too_short(minutes, seconds):
        raise ConfigError(
            f"too short: {describe(minutes, seconds)}",
            key="worker.turn",
            hint=f"at least {TIMES * seconds / 60:.3g}, {TIMES} starts",
        )
