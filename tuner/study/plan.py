"""The plan of a command line: its configuration, its search space, and all errors in them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

from omegaconf import DictConfig

from tuner.config import (
    instantiation,
    lookup,
    override_mistakes,
    override_parser,
    settings,
    signatures,
    value_checks,
)
from tuner.config.composition import Source
from tuner.config.lookup import OPERATIONAL, is_operational, key_of
from tuner.config.override_parser import Override
from tuner.errors import ConfigError, Mistake, section
from tuner.space import checks, grammar, mandatory
from tuner.space.tree import Space
from tuner.study import enqueued
from tuner.study.objectives import Aims
from tuner.study.queue import Item

Settings = TypeVar("Settings")


def _section(name: str, kind: type[Settings]) -> cached_property[Settings]:
    """Return the property of a plan that holds a section of its configuration."""
    return cached_property(lambda plan: lookup.section(plan.cfg, name, kind))


@dataclass(frozen=True)
class Plan:
    """A composed and checked command line; ``require`` raises all errors at once."""

    source: Source
    overrides: tuple[str, ...]
    cfg: DictConfig
    space: Space
    pins: tuple[str, ...]
    """Plain overrides of the command line, which belong to every trial."""
    mistakes: tuple[Mistake, ...]
    queue: tuple[Item, ...] = ()
    """Trials to enqueue before the sampler's own proposals."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """What the objective's ``check`` reports before it runs."""
    closed: bool = False
    """Whether only queued trials are run, and the sampler proposes none."""

    study = _section("study", settings.StudySettings)
    budget = _section("budget", settings.BudgetSettings)
    storage = _section("storage", settings.StorageSettings)
    worker = _section("worker", settings.WorkerSettings)
    final = _section("final", settings.FinalSettings)

    @property
    def aims(self) -> Aims:
        return Aims.of(self.study)

    @property
    def seed(self) -> int:
        return int(self.cfg.seed)

    def require(self, more: Sequence[Mistake] = ()) -> "Plan":
        """Return the plan, or raise ``ConfigError`` with all of its errors and ``more``."""
        if found := [*self.mistakes, *more]:
            raise ConfigError(list(dict.fromkeys(found)))
        return self

    @cached_property
    def base_text(self) -> str:
        """Return the objective's configuration as YAML, without the search's sections."""
        return lookup.text(self.cfg, without=sorted(OPERATIONAL))


def load(
    source: Source,
    overrides: Sequence[str],
    *,
    search: bool = True,
    validate: bool = True,
    composed: Callable[[DictConfig], object] = lambda _: None,
) -> Plan:
    """Compose and check a command line.

    Args:
        search: Whether sweeps are allowed; ``tuner train`` allows none.
        validate: Whether to import and check the objective; commands that only read need not do so.
        composed: Called with the configuration as soon as it is composed, before it is checked.

    Raises:
        ConfigError: Nothing can be composed at all.
    """
    read = _read(source, overrides)
    composed(read.cfg)
    cfg, plain, mistakes = read.cfg, read.plain, read.mistakes
    lookup.remember(cfg)
    space, unreadable = read.space(source) if search else (Space(), [])
    mistakes.extend(mandatory.unspecified(source, read.stand_ins, space))
    whole = mandatory.filled(cfg, space.parameters(), with_targets=validate)
    found = signatures.check(whole, roots=signatures.ROOTS if validate else ())
    unread = {mistake.key.removeprefix("space.") for mistake in unreadable}
    mistakes.extend(m for m in found if not (m.problem == "missing" and m.key in unread))
    mistakes.extend(_news(value_checks.mistakes(whole), mistakes))
    refused, facts = _dry_instantiated(source, replace(read, cfg=whole)) if validate else ([], {})
    mistakes.extend(refused)
    items = list[Item]()
    if search:
        mistakes.extend(unreadable)
        # A space or a sweep that cannot be parsed counts as non-empty.
        if validate and (space.root.parameters or not (unreadable or read.unparsed)):
            found = checks.mistakes(source, _pins(plain), space, mistakes, read.lost)
            mistakes.extend(_news(found, mistakes))
        items, unusable = _queue(source, read, space)
        mistakes.extend(unusable)
    else:
        told = "a sweep is not allowed here", "give one value, or use tuner tune"
        mistakes.extend(Mistake(o.key_or_group, *told) for o in read.sweeps.values())
    pins = _pins([text for text in plain if text not in read.stand_ins])
    return Plan(source, tuple(overrides), cfg, space, pins, tuple(mistakes), tuple(items), facts)


@dataclass(frozen=True)
class _Read:
    """The part of a command line that can be composed, and the errors in the rest."""

    cfg: DictConfig
    parsed: Mapping[str, Override]
    plain: list[str]
    mistakes: list[Mistake]
    unparsed: bool
    """Whether an override could not be parsed at all."""
    lost: set[str]
    """Sections that cannot be composed, because their option is unknown."""
    stand_ins: list[str]
    """Overrides of ``plain`` that were added for mandatory groups."""

    @property
    def sweeps(self) -> dict[str, Override]:
        return {text: o for text, o in self.parsed.items() if o.is_sweep_override()}

    def space(self, source: Source) -> tuple[Space, list[Mistake]]:
        kept = {*self.plain, *self.sweeps}
        known = [o for text, o in self.parsed.items() if text in kept and not o.is_delete()]
        written = lookup.plain(self.cfg, "space")
        if not isinstance(written, Mapping):
            told = "one line per key: model.width: int(interval(8, 64))"
            return Space(), [Mistake("space", f"expected keys, got {written!r}", told)]
        return grammar.build(written, known, override_parser.parse, source.options)


def _read(source: Source, overrides: Sequence[str]) -> _Read:
    """Parse overrides and compose; the last override of a key decides whether it is searched."""
    mistakes: list[Mistake] = []
    parsed: dict[str, Override] = {}
    for text in overrides:
        try:
            parsed[text] = override_parser.parse(text)
        except ConfigError as error:
            mistakes.extend(error.mistakes)
    unparsed = bool(mistakes)
    if not source.open_ended:  # Hydra does not run the program
        idle = [text for text, o in parsed.items() if re.match(r"hydra[./]", o.key_or_group)]
        told = "has no effect here", "Hydra settings of the --app program only"
        mistakes.extend(Mistake(parsed[text].key_or_group, *told) for text in idle)
        parsed = {text: o for text, o in parsed.items() if text not in idle}
    last = {o.key_or_group: o.is_sweep_override() for o in parsed.values()}
    parsed = {t: o for t, o in parsed.items() if o.is_sweep_override() == last[o.key_or_group]}
    plain = [text for text, o in parsed.items() if not o.is_sweep_override()]
    wrong: dict[str, Mistake | None] = {}
    stand_ins, cfg = mandatory.compose(source, plain)
    plain = [*stand_ins, *plain]
    if isinstance(cfg, ConfigError):
        try:
            wrong = override_mistakes.blame(source, plain, cfg)
            mistakes.extend(filter(None, wrong.values()))
            plain = [text for text in plain if text not in wrong]
            cfg = source.compose(plain)
        except ConfigError as error:
            raise ConfigError([*mistakes, *error.mistakes]) from error
    groups = {parsed[text].key_or_group for text in wrong if text in parsed}
    lost = {group.split("/")[0] for group in groups if source.options(group)}
    whole = lost <= set(map(str, cfg))  # an experiment may change every section
    lost = lost if whole else {*lost, *map(str, cfg)}
    return _Read(cfg, parsed, plain, mistakes, unparsed, lost, stand_ins)


ALONE = {"data", "optimizer", "schedule"}
"""Sections that are checked independently of others."""


def _dry_instantiated(source: Source, read: _Read) -> tuple[list[Mistake], Mapping[str, object]]:
    """Return the errors of the objective, and its facts.

    If some of its sections are known to be invalid, the others are checked without them.
    """
    bad = (_sections(read.mistakes) | read.lost) - OPERATIONAL
    if not bad:
        refused, facts = instantiation.dry_instantiate(read.cfg)
        return _news(refused, read.mistakes), facts
    if "objective" in bad or bad >= ALONE:
        return [], {}
    try:
        cfg = source.compose([text for text in read.plain if section(text) not in bad])
    except ConfigError:
        return [], {}
    if _sections(signatures.check(cfg)) - OPERATIONAL:  # in a file, that is
        return [], {}
    sure = ALONE - bad | (set() if "data" in bad else {"study"})
    refused = _news(instantiation.dry_instantiate(cfg)[0], read.mistakes)
    return [mistake for mistake in refused if mistake.section in sure], {}


def _sections(mistakes: Iterable[Mistake]) -> set[str]:
    return {mistake.section for mistake in mistakes}


def _news(found: Iterable[Mistake], known: Iterable[Mistake]) -> list[Mistake]:
    """Return the errors in keys without a known error."""
    keys = {mistake.key for mistake in known if mistake.section not in ("", "space")}
    return [mistake for mistake in found if mistake.key not in keys]


def _queue(source: Source, read: _Read, space: Space) -> tuple[list[Item], list[Mistake]]:
    """Return the queue, once the space and the sections of the queue can be read."""
    if read.lost or _sections(read.mistakes) & {"study", "space"}:
        return [], []
    asked = lookup.section(read.cfg, "study", settings.StudySettings)
    lists, defaults = asked.enqueue, asked.enqueue_defaults
    return enqueued.build(source, read.plain, space, lists, defaults=defaults)


def _pins(plain: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides that belong to every trial, without the seed, which differs."""
    return tuple(t for t in plain if key_of(t) != "seed" and not is_operational(t))
