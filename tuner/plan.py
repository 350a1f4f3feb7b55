"""What a command line asks for: the configuration, the space to search in it, and all mistakes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from omegaconf import DictConfig

from tuner import binding, config, edges, grammar, nodes, queue, rules
from tuner.aims import Aims
from tuner.config import Source
from tuner.errors import ConfigError
from tuner.queue import Item
from tuner.schema import (
    BudgetSettings,
    FinalSettings,
    StorageSettings,
    StudySettings,
    WorkerSettings,
    bare,
    conforms,
    mistake,
    nearest,
)
from tuner.space import Branch, Parameter, Space
from tuner.typos import nearest_key

OPERATIONAL = {
    "study", "budget", "storage", "sampler", "pruner", "space", "launch", "worker", "final",
    "tracking",
}  # fmt: skip
"""Sections that say how to search and where; a trial's own overrides leave them out."""

KEPT = {"study.metric", "study.direction", "study.objectives", "study.constraints"}
"""… but for these, which the objective may read."""


@dataclass(frozen=True)
class Plan:
    """A command line, composed and checked.  ``require`` raises all mistakes at once."""

    source: Source
    overrides: tuple[str, ...]
    cfg: DictConfig
    space: Space
    pins: tuple[str, ...]
    """Plain overrides of the command line that belong to every trial."""
    mistakes: tuple[str, ...]
    queue: tuple[Item, ...] = ()
    """What is tried before the sampler's own proposals."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the objective says of itself before it runs."""

    @cached_property
    def study(self) -> StudySettings:
        return nodes.section(self.cfg, "study", StudySettings)

    @property
    def aims(self) -> Aims:
        return Aims.of(self.study)

    @cached_property
    def budget(self) -> BudgetSettings:
        return nodes.section(self.cfg, "budget", BudgetSettings)

    @cached_property
    def storage(self) -> StorageSettings:
        return nodes.section(self.cfg, "storage", StorageSettings)

    @cached_property
    def worker(self) -> WorkerSettings:
        return nodes.section(self.cfg, "worker", WorkerSettings)

    @cached_property
    def final(self) -> FinalSettings:
        return nodes.section(self.cfg, "final", FinalSettings)

    @property
    def seed(self) -> int:
        return int(self.cfg.seed)

    def require(self, more: Sequence[str] = ()) -> "Plan":
        """Itself, or ``ConfigError`` with all of its mistakes and ``more``."""
        if found := [*self.mistakes, *more]:
            raise ConfigError(list(dict.fromkeys(found)))
        return self

    def base_text(self) -> str:
        """The objective's configuration as YAML, without where and how it is searched."""
        return nodes.text(self.cfg, without=sorted(OPERATIONAL))


def load(
    source: Source, overrides: Sequence[str], *, search: bool = True, judge: bool = True
) -> Plan:
    """Compose and check.  With ``search=False`` (``tuner train``) sweeps are mistakes.

    ``judge=False`` spares those that only read a study the checks that import the objective.

    Raises ``ConfigError`` only where nothing can be composed at all.
    """
    mistakes: list[str] = []
    parsed = {}
    for text in overrides:
        try:
            parsed[text] = config.parse(text)
        except ConfigError as error:
            mistakes.extend(error.mistakes)
    plain = [text for text, o in parsed.items() if not o.is_sweep_override()]
    sweeps = [text for text in parsed if text not in plain]
    try:
        cfg = source.compose(plain)
    except ConfigError:
        wrong = source.mistakes(plain)
        mistakes.extend(wrong.values())
        plain = [text for text in plain if text not in wrong]
        cfg = source.compose(plain)
    mistakes.extend(binding.check(cfg, roots=binding.ROOTS if judge else ()))
    mistakes.extend(rules.mistakes(cfg))
    facts: dict[str, str] = {}
    if judge and not mistakes:
        mistakes, facts = config.rehearse(cfg)
    if not search:
        mistakes.extend(
            f"{text}: a sweep has no meaning here; hint: give one value, or use tuner tune"
            for text in sweeps
        )
        return Plan(
            source, tuple(overrides), cfg, Space(), _pins(plain), tuple(mistakes), (), facts
        )
    written = nodes.plain(cfg, "space")
    known = [o for text, o in parsed.items() if text in {*plain, *sweeps} and not o.is_delete()]
    space, unreadable = grammar.build(written, known, config.parse, source.options)
    mistakes.extend(unreadable)
    if judge:
        mistakes.extend(_space_mistakes(source, plain, space, known=mistakes))
    items, unusable = _queue(source, plain, space, cfg, mistakes)
    mistakes.extend(unusable)
    return Plan(
        source, tuple(overrides), cfg, space, _pins(plain), tuple(mistakes), tuple(items), facts
    )


def _queue(
    source: Source, plain: Sequence[str], space: Space, cfg: DictConfig, mistakes: Sequence[str]
) -> tuple[list[Item], list[str]]:
    """What is tried first, once the section that says so and the space can be read."""
    if any(m.startswith(("study", "space")) for m in mistakes):
        return [], []
    asked = nodes.section(cfg, "study", StudySettings)
    return queue.build(source, plain, space, asked.enqueue, defaults=asked.enqueue_defaults)


def _pins(plain: Sequence[str]) -> tuple[str, ...]:
    def kept(text: str) -> bool:
        key = text.split("=")[0].lstrip("+~")
        if key == "seed":  # each trial has its own
            return False
        return (
            ".".join(key.split(".")[:2]) in KEPT
            or key.split(".")[0].split("@")[0] not in OPERATIONAL
        )

    return tuple(text for text in plain if kept(text))


def _space_mistakes(
    source: Source, plain: Sequence[str], space: Space, *, known: Sequence[str]
) -> list[str]:
    """Keys, options and types of the space, each judged where its condition holds.

    What is ``known`` to be wrong everywhere is not said again.
    """
    if not any(True for _ in space.parameters()):
        if any("cannot be parsed" in line for line in known):  # it may have been the sweep
            return []
        return ["space: nothing to search; hint: space=cnn, or a sweep such as a.b='choice(1,2)'"]
    found: list[str] = []
    missing: set[str] = set()
    for p in space.parameters():
        if p.key.split(".")[0] in OPERATIONAL | {"seed", "hydra"}:
            found.append(f"{p.key}: cannot be searched; hint: only what the objective reads can")
            missing.add(p.key)
        elif options := source.options(p.key):
            texts = getattr(p.distribution, "texts", [str(p.distribution)])
            bad = [text for text in texts if text not in options]
            missing.update(f"{p.key}={text}" for text in bad)
            found.extend(
                f"space: {p.key} has no option {t!r}; hint: {nearest(t, options)}" for t in bad
            )
    contexts: dict[tuple[str, ...], list[Sequence[str]]] = {}
    for selection in space.contexts():
        if missing.isdisjoint(part for text in selection for part in (text, text.split("=")[0])):
            groups = tuple(text for text in selection if source.options(text.split("=")[0]))
            contexts.setdefault(groups, []).append(selection)
    places: dict[str, list[tuple[str, ...]]] = {}
    for groups, selections in contexts.items():  # composing is slow: once for each set of groups
        first = groups == next(iter(contexts))
        for line in _context_mistakes(
            source, plain, space, groups, selections, every=first, whole=not known
        ):
            places.setdefault(line, []).append(groups)
    found += [f"{line}{edges.where(at, [*contexts])}" for line, at in places.items()]
    return [line for line in dict.fromkeys(found) if line.partition(" (when ")[0] not in known]


def _context_mistakes(
    source: Source,
    plain: Sequence[str],
    space: Space,
    groups: Sequence[str],
    selections: Sequence[Sequence[str]],
    *,
    every: bool,
    whole: bool,
) -> list[str]:
    """What is wrong with the parameters that are active under some options of the groups.

    Where their values are right each, ``whole`` configurations at the edges of the space are tried,
    with ``every`` option of the other choices: a value that is refused spoils whatever it is in.
    """
    constants = sorted({c for s in selections for c in _constants(space.root, s)})
    try:
        cfg = source.compose([*plain, *groups, *constants])
    except ConfigError:
        wrong = source.mistakes([*plain, *groups, *constants])
        return list(wrong.values())
    fields = binding.reachable(cfg)
    found = _refused(source, [*plain, *groups, *constants], space, selections)
    for p in dict.fromkeys(p for s in selections for p in space.active(s)):
        if source.options(p.key):
            continue
        if not nodes.has_key(cfg, p.key):
            found.append(_unknown(source, p, cfg, plain))
        elif p.key in fields:
            annotation = fields[p.key].annotation
            found.extend(
                mistake(p.key, annotation, value, _cure(value, annotation))
                for value in _values(p)
                if not conforms(value, annotation)
            )
    if found or not whole:
        return found
    return edges.mistakes(cfg, space, groups, every=every)


def _refused(
    source: Source, context: Sequence[str], space: Space, selections: Sequence[Sequence[str]]
) -> list[str]:
    """Bounds that a configuration with types of its own, an application's, does not take."""
    if not source.open_ended:
        return []
    active = dict.fromkeys(p for s in selections for p in space.active(s))
    searched = [p for p in active if not source.options(p.key)]
    found: list[str] = []
    for end in (0, -1):
        texts = [f"{p.key}={p.distribution.text(p.distribution.samples()[end])}" for p in searched]
        found.extend(source.mistakes([*context, *texts]).values())
    return [f"space: {message}" for message in found if "unknown key" not in message]


def _unknown(source: Source, p: Parameter, cfg: DictConfig, plain: Sequence[str]) -> str:
    section = p.key.split(".")[0]
    pinned = [text for text in plain if text.startswith(f"{section}=")]
    owners = source.owners(p.key)
    if pinned and owners and not p.condition:
        hint = f"{p.key} belongs to {owners}, not to {pinned[0]}"
    else:
        hint = nearest_key(nodes.keys(cfg), p.key)
    where = f" (when {', '.join('='.join(c) for c in p.condition)})" if p.condition else ""
    return f"space: unknown key {p.key!r}{where}; hint: {hint}"


def _values(p: Parameter) -> list[Any]:
    """Boundary values as the objective would receive them."""
    values = []
    for stored in p.distribution.samples():
        value = config.parse(f"x={p.distribution.text(stored)}").value()
        values.append(value)
    return values


def _cure(value: object, annotation: Any) -> str:
    kind = bare(annotation)
    if isinstance(value, float) and conforms(1, kind) and not conforms(value, kind):
        return "write int(interval(a, b)); an interval is continuous"
    return ""


def _constants(branch: Branch, selection: Sequence[str]) -> list[str]:
    found = list(branch.constants)
    for p in branch.parameters:
        for text, below in p.branches.items():
            if f"{p.key}={text}" in selection:
                found.extend(_constants(below, selection))
    return found
