"""The location of a study: its database, its name there, and its files on this machine.

An existing study can be found by its name alone, without the configuration of its search.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.config import defaults, directories
from tuner.errors import ConfigError
from tuner.study import study
from tuner.study.study import Study

if TYPE_CHECKING:
    from tuner.study.plan import Plan  # imports Hydra, which is slow

SECRET = ("storage", "study.prior_url")
"""Prefixes of the keys that locate databases, whose URLs may contain passwords."""

KEYS = ("storage.url", "storage.artifacts", "study.dir")
"""Keys that may differ from the built-in configuration if a study is given by its name."""

PLAIN = re.compile(r"([\w.]+)=([./]*[A-Za-z][\w./:+@-]*)", re.ASCII)
"""An override whose value is plain text to Hydra, except for ``WORDS``."""
WORDS = {"null", "true", "false", "inf", "nan"}


def places(overrides: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return the values of ``KEYS`` that overrides give as plain text, and the other overrides."""
    given: dict[str, str] = {}
    others = []
    for text in overrides:
        plain = PLAIN.fullmatch(text)
        if plain and plain[1] in KEYS and plain[2].lower() not in WORDS:
            given[plain[1]] = plain[2]
        else:
            others.append(text)
    return given, others


@dataclass(frozen=True)
class Location:
    """The database of a study, its name, and its directories, relative to the current one."""

    url: str
    name: str
    directory: Path
    artifacts: Path
    grace: float
    """Seconds without a heartbeat after which a worker counts as lost."""
    patience: float
    """Seconds for which calls are retried while the database is unavailable."""

    def load(self) -> Study:
        """Load the study for reading.

        Raises:
            StorageError: There is no such database, or it cannot be used.
            StudyMissing: It has no such study; the message lists the existing ones, those with
                similar names first.
        """
        return study.load(self.url, self.name, grace=self.grace, patience=self.patience)


def named(name: str, given: Mapping[str, str] | None = None) -> Location:
    """Return the location of a study according to the built-in configuration.

    Args:
        name: The study's name.
        given: Values of ``KEYS`` that differ from the configuration.

    Raises:
        ConfigError: The name is not valid for a study.
    """
    if mistakes := directories.misnamed("study.name", name):
        raise ConfigError(mistakes)
    found = {key: str(defaults.value(key)) for key in KEYS} | dict(given or {})
    return Location(
        url=found["storage.url"],
        name=name,
        directory=Path(found["study.dir"].replace("${study.name}", name)),
        artifacts=Path(found["storage.artifacts"]),
        grace=float(defaults.value("worker.grace")),
        patience=float(defaults.value("storage.patience")),
    )


def of(plan: "Plan") -> Location:
    """Return the location of a plan's study."""
    return Location(
        url=plan.storage.url,
        name=plan.study.name,
        directory=Path(plan.study.dir),
        artifacts=Path(plan.storage.artifacts),
        grace=plan.worker.grace,
        patience=plan.storage.patience,
    )
