"""Check databases, directories and other resources of a search before any work."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from tuner.cli import search_checks
from tuner.config import directories
from tuner.config.lookup import text_at
from tuner.errors import ConfigError, Mistake
from tuner.study.plan import Plan
from tuner.worker import mirror
from tuner.worker.tracking import base
from tuner.worker.tracking.factory import build_tracker


def mistakes(asked: Plan, makes: Mapping[str, Callable[[], object]]) -> list[Mistake]:
    """What is wrong with how and where to search, as far as it is not known already.

    ``makes`` are judged too unless their sections are known to be wrong; files are written to the
    directories, and none is left.
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


def _written_to(asked: Plan) -> Iterable[directories.Named]:
    """Return the directories that a search will write to, if their keys can be read."""
    wrong = {mistake.key for mistake in asked.mistakes}
    # What a directory is named after.
    if "study.name" not in wrong and (text := text_at(asked.cfg, "study.dir")):
        yield from (("study.dir", Path(text, name)) for name in ("", "logs", "trials"))
    if text := text_at(asked.cfg, "storage.artifacts"):
        yield "storage.artifacts", text
    if "tracking" not in {mistake.section for mistake in asked.mistakes}:
        with suppress(ConfigError):  # which search.mistakes has told
            yield from base.directories(build_tracker(asked.cfg))
