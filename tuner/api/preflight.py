"""Check databases, directories and other resources of a search before any work."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tuner.api import search_checks
from tuner.config import directories, instantiation, lookup, targets
from tuner.config.lookup import text_at
from tuner.errors import ConfigError, Mistake
from tuner.launch import gpus
from tuner.launch.base import Launcher
from tuner.log import log
from tuner.space import corner_checks, mandatory
from tuner.storage import database, urls
from tuner.study import create
from tuner.study.plan import Plan
from tuner.worker import mirror
from tuner.worker.tracking import base
from tuner.worker.tracking.factory import build_tracker


def planned(asked: Plan, more: Sequence[Mistake] = ()) -> Plan:
    """Return the checked plan of trials that run in this process; ``more`` are known errors.

    Raises:
        ConfigError: Lists all errors.
    """
    makes = {
        "launch": lambda: instantiation.instantiate(asked.cfg.launch),
        "storage": lambda: urls.validate(asked.storage.url),
        "device": lambda: _check_device(asked),
    }
    return required(asked, [*more, *mistakes(asked, makes)])


def launched(asked: Plan) -> tuple[Plan, Launcher, str]:
    """Build the launcher of a plan, after checking engine and database.

    Returns:
        The plan, the launcher, and a description of what it would start.

    Raises:
        ConfigError: Lists all errors in the plan, the launcher, the database and the device.
    """
    found: list[tuple[Launcher, str]] = []

    def launch() -> None:
        launcher: Launcher = instantiation.instantiate(asked.cfg.launch)
        found.append((launcher, ""))
        found.append((launcher, launcher.describe()))
        asked.require(_lacking(asked, launcher))

    makes = {
        "launch": launch,
        "storage": lambda: database.probe(asked.storage.url),
        "device": lambda: None if _is_elsewhere(asked) else _check_device(asked),
    }
    more = mistakes(asked, makes)
    if found:
        more += _out_of_reach(asked, found[0][0])
        more += turns_refused(asked, found[0][0])
    if not (asked.mistakes or more):
        more = search_checks.refusals({"study": lambda: create.check_prior(asked)})
    return required(asked, more), *found[-1]


def launcher_of(asked: Plan) -> tuple[Launcher, str]:
    """Return the launcher of final trainings, and a description of what it would start.

    Raises:
        ConfigError: The engine would reject the workers, or they could not reach the database.
    """
    launcher: Launcher = instantiation.instantiate(asked.cfg.launch)
    wrong = [*_out_of_reach(asked, launcher), *turns_refused(asked, launcher)]
    if told := getattr(launcher, "no_final", ""):
        wrong.append(Mistake("launch", told, "launch=local"))
    asked.require(wrong)
    described = launcher.describe()
    asked.require(_lacking(asked, launcher))
    return launcher, described


def _out_of_reach(asked: Plan, launcher: Launcher) -> list[Mistake]:
    url = lookup.text_at(asked.cfg, "storage.url") or ""
    if not (launcher.spread and url.startswith("sqlite")):
        return []
    told = "a SQLite file can be used on one machine only; this launcher may use several"
    return [Mistake("storage.url", told, "storage=postgresql, or launch=local")]


def _lacking(asked: Plan, launcher: Launcher) -> list[Mistake]:
    """Return an error for each password of an override that its workers would not have."""
    lacks = getattr(launcher, "lacks", None)
    return lacks(asked.overrides) if lacks else []


def turns_refused(asked: Plan, launcher: Launcher | None = None) -> list[Mistake]:
    """Return an error if ``worker.turn`` is set but the engine cannot reassign a worker's slot.

    Args:
        launcher: The launcher of the workers, None if trials run in this process.
    """
    told = "launch=local has no queue of other jobs to which a slot could be given"
    if launcher is not None and launcher.spread:
        told = getattr(launcher, "no_turns", "")
    if not told or lookup.at(asked.cfg, "worker.turn") is None:
        return []
    return [Mistake("worker.turn", told, "null, launch=slurm or launch=ray")]


def required(asked: Plan, more: Sequence[Mistake] = ()) -> Plan:
    """Return a plan without errors; log warnings about doubtful settings."""
    asked.require(more)
    unset = mandatory.doubts(asked.source, asked.cfg, asked.space)
    for doubt in [*corner_checks.fractions(asked.cfg, asked.space), *unset]:
        log.warning("%s", doubt)
    return asked


def _check_device(asked: Plan) -> None:
    gpus.require(lookup.text_at(asked.cfg, "worker.device"))


def _is_elsewhere(asked: Plan) -> bool:
    """Return whether workers may run on other machines, also if ``launch`` has errors."""
    target = lookup.text_at(asked.cfg, "launch._target_")
    with suppress(ConfigError):
        return target is not None and getattr(targets.locate(target), "spread", False) is True
    return False


def mistakes(asked: Plan, makes: Mapping[str, Callable[[], object]]) -> list[Mistake]:
    """Return new errors in the settings of the search and its location.

    The objects in ``makes`` are built as well, unless their sections have known errors. Temporary
    files are written to the directories and removed again.
    """
    known = {mistake.section for mistake in asked.mistakes}
    url = text_at(asked.cfg, "study.mirror")
    unusable = mirror.mistakes(url)
    found = [*search_checks.mistakes(asked), *unusable]
    if not unusable:
        makes = {**makes, "mirror": lambda: mirror.probe(url)}
    found += search_checks.refusals(
        {name: make for name, make in makes.items() if name not in known}
    )
    return [*found, *directories.refusals(_written_to(asked))]


def _written_to(asked: Plan) -> Iterable[directories.DirectoryOption]:
    """Return the directories that a search will write to, if their keys can be read."""
    wrong = {mistake.key for mistake in asked.mistakes}
    # The keys after which the directory is named.
    if "study.name" not in wrong and (text := text_at(asked.cfg, "study.dir")):
        yield from (("study.dir", Path(text, name)) for name in ("", "logs", "trials"))
    if text := text_at(asked.cfg, "storage.artifacts"):
        yield "storage.artifacts", text
    if "tracking" not in {mistake.section for mistake in asked.mistakes}:
        with suppress(ConfigError):  # which search.mistakes has told
            yield from base.directories(build_tracker(asked.cfg))
