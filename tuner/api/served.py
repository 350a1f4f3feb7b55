"""The plan by which this machine's files repeat the search of a study that was created elsewhere.

A study's row chooses an experiment by its name, and gives the name, seed and limits of the study.
All else comes from files and the command line of this machine; see docs/security.md.
"""

from collections.abc import Sequence
from dataclasses import fields

from tuner.api import preflight
from tuner.config.composition import Source
from tuner.config.directories import misnamed
from tuner.config.lookup import key_of
from tuner.config.override_text import text_of
from tuner.config.settings import BudgetSettings
from tuner.errors import StudyError, section
from tuner.space import tree
from tuner.study import create, plan
from tuner.study.plan import Plan
from tuner.study.stored_config import changed
from tuner.study.study import Study

EXPERIMENT = "experiment"
OWN = {"launch", "worker", "storage", "tracking", "final"}
"""Sections of a command line that say how it runs on its own machine."""
STORED = {EXPERIMENT, "seed", "budget", "study.name", "study.n_trials", "study.dir"}
"""Keys and sections whose values a study's row has, or that its name gives."""
MISNAMED = "its name is none that tuner tune gives"


def planned(source: Source, overrides: Sequence[str], study: Study) -> Plan:
    """Return the plan of a study, checked like that of a command.

    Args:
        source: The configuration of this machine.
        overrides: The command line of this machine.
        study: The study, which need not have been created by tuner.

    Raises:
        TunerError: The study is not one that this configuration has, or cannot run here.
    """
    attrs = study.attrs
    create.require_ours(study.name, attrs)
    if misnamed("", study.name) or "${" in study.name:
        raise StudyError(MISNAMED)
    command = [text for text in attrs.get("command", ()) if not text.startswith("--")]
    if foreign := [text for text in command if not (text in overrides or _is_known(text))]:
        keys = ", ".join(dict.fromkeys(map(key_of, foreign)))
        hint = "an experiment file can set them, on both machines"
        raise StudyError(f"its command sets {keys}, which this one does not", hint=hint)
    stored = attrs.get("budget", {})
    limits = {"study.n_trials": stored.get("n_trials")}
    known = [field.name for field in fields(BudgetSettings) if field.name in stored]
    limits |= {f"budget.{name}": stored[name] for name in known}
    given = {"study.name": study.name, "seed": attrs["seed"], **limits}
    words = [*overrides, *_experiment(source, overrides, command)]
    words += [f"{key}={text_of(value)}" for key, value in given.items()]
    found = preflight.planned(plan.load(source, words))
    if found.study.name != study.name:  # as of the name ???
        raise StudyError(MISNAMED)
    here = {"config": found.base_text, "search": create.search_text(found)}
    differing = [line for k, text in here.items() for line in changed(attrs.get(k, ""), text)]
    space = tree.compare(attrs["space"], found.space.rows())
    if differing := [*differing, *space.breaking, *space.ranges]:
        raise StudyError("\n  ".join(["its configuration is another one", *differing]))
    return found


def _is_known(override: str) -> bool:
    key = key_of(override)
    return section(key) in OWN or key in STORED or section(key) in STORED


def _experiment(source: Source, overrides: Sequence[str], command: Sequence[str]) -> list[str]:
    """Return the override that chooses the experiment of a study's command, unless it is given."""
    theirs, ours = _chosen(command), _chosen(overrides)
    if ours is not None and ours != theirs:
        raise StudyError(f"it is of experiment {theirs}, and this command is for {ours}")
    if theirs is None or ours is not None:
        return []
    group, _, option = f"{EXPERIMENT}/{theirs}".rpartition("/")
    if option not in source.options(group):
        raise StudyError(f"there is no experiment {theirs} here")
    return [f"{EXPERIMENT}={theirs}"]


def _chosen(overrides: Sequence[str]) -> str | None:
    """Return the experiment of a command line, None without one."""
    found = [text.partition("=")[2] for text in overrides if key_of(text) == EXPERIMENT]
    return found[-1] if found else None
