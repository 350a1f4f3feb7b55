"""Check the parameters of a search space, each under its conditions."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig

from tuner.config import lookup, override_mistakes, override_parser, signatures
from tuner.config.composition import Source
from tuner.config.lookup import OPERATIONAL
from tuner.config.suggestions import nearest_key
from tuner.config.types import bare, closest, conforms, mistake, nearest
from tuner.errors import ConfigError, Mistake, section
from tuner.space import corner_checks, mandatory
from tuner.space.distributions import Categorical
from tuner.space.tree import Branch, Parameter, Space


def mistakes(
    source: Source,
    plain: Sequence[str],
    space: Space,
    known: Sequence[Mistake],
    lost: Collection[str],
) -> list[Mistake]:
    """Return the errors in keys, options and types of the space, each checked under its conditions.

    ``known`` errors, which occur everywhere, are not repeated. Keys in ``lost`` sections, which
    could not be composed, are not checked.
    """
    if "space" in lost:
        return []
    if not any(True for _ in space.parameters()):
        hint = "space=cnn, or a sweep such as a.b='choice(1,2)'"
        return [Mistake("space", "nothing to search", hint)]
    found = _mistakes(source, plain, space, known)
    return [m for m in found if section(m.key.removeprefix("space.")) not in lost]


def _mistakes(
    source: Source, plain: Sequence[str], space: Space, known: Sequence[Mistake]
) -> list[Mistake]:
    found: list[Mistake] = []
    missing: set[str] = set()
    for p in space.parameters():
        if p.key.split(".")[0] in OPERATIONAL | {"seed", "hydra"}:
            told = "cannot be searched", "only keys that the objective reads can be searched"
            found.append(Mistake(p.key, *told))
            missing.add(p.key)
        elif options := source.options(p.key):
            texts = getattr(p.distribution, "texts", [str(p.distribution)])
            bad = [text for text in texts if text not in options]
            missing.update(map(p.override, bad))
            found.extend(
                Mistake(f"space.{p.key}", f"the group has no option {t!r}", nearest(t, options))
                for t in bad
            )
    contexts: dict[tuple[str, ...], list[Sequence[str]]] = {}
    for selection in space.contexts():
        if missing.isdisjoint(part for text in selection for part in (text, _key(text))):
            groups = tuple(text for text in selection if source.options(_key(text)))
            contexts.setdefault(groups, []).append(selection)
    sound = {m.section for m in known} <= OPERATIONAL - {"space"}
    places: dict[Mistake, list[tuple[str, ...]]] = {}
    for groups, selections in contexts.items():  # composing is slow: once for each set of groups
        first = groups == next(iter(contexts))
        for wrong in _context_mistakes(
            source, plain, space, groups, selections, every=first, whole=sound
        ):
            places.setdefault(wrong, []).append(groups)
    for wrong, at in places.items():
        if wrong not in known:
            when = dict.fromkeys([*wrong.when, *corner_checks.where(at, [*contexts])])
            found.append(replace(wrong, when=tuple(when)))
    return list(dict.fromkeys(found))


def _context_mistakes(
    source: Source,
    plain: Sequence[str],
    space: Space,
    groups: Sequence[str],
    selections: Sequence[Sequence[str]],
    *,
    every: bool,
    whole: bool,
) -> list[Mistake]:
    """Return the errors in the parameters that are active under some options of the groups.

    If all values are valid on their own and ``whole`` is true, configurations at the corners of the
    space are checked as well, with ``every`` option of the other choices. An invalid value would
    make each of them invalid.
    """
    constants = sorted({c for s in selections for c in _constants(space.root, s)})
    texts = [*plain, *groups, *constants]
    try:
        cfg = source.compose(texts)
    except ConfigError as error:
        return list(filter(None, override_mistakes.blame(source, texts, error).values()))
    active = dict.fromkeys(p for s in selections for p in space.active(s))
    searched = [p for p in active if not source.options(p.key)]
    there = cfg
    cfg = mandatory.filled(cfg, searched)
    fields = signatures.reachable(cfg)
    found = _refused(source, texts, [p for p in searched if lookup.has_key(cfg, p.key)])
    found.extend(
        mistake(f"space.{key}", fields[key].annotation, fields[key].value)
        for key in map(_key, constants)
        if key in fields and not conforms(fields[key].value, fields[key].annotation)
    )
    for p in searched:
        if p.sign == "+" and lookup.at(there, p.key) is not None:
            told = "already exists, so + cannot add it"
            found.append(Mistake(f"space.{p.key}", told, f"write {p.key}=… without the +"))
        elif not lookup.has_key(cfg, p.key):
            found.append(_unknown(source, p, cfg, plain))
        elif p.key in fields:
            found.extend(_unfit(p, fields[p.key].annotation))
    if found or not whole:
        return found
    return corner_checks.mistakes(cfg, space, groups, every=every)


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def _refused(
    source: Source, context: Sequence[str], searched: Sequence[Parameter]
) -> list[Mistake]:
    """Return the errors for bounds that an application's own typed configuration rejects."""
    if not source.open_ended:
        return []
    found: list[Mistake] = []
    for end in (0, -1):
        ends = [p.override(p.distribution.text(p.distribution.samples()[end])) for p in searched]
        found.extend(filter(None, override_mistakes.mistakes(source, [*context, *ends]).values()))
    return [m.at(f"space.{m.key}") for m in found]


def _unknown(source: Source, p: Parameter, cfg: DictConfig, plain: Sequence[str]) -> Mistake:
    pinned = [text for text in plain if text.startswith(f"{section(p.key)}=")]
    owners = override_mistakes.owners(source, p.key)
    if pinned and owners and not p.condition:
        hint = f"{p.key} belongs to {owners}, not to {pinned[0]}"
    else:
        hint = _meant(cfg, p.key)
    return Mistake(f"space.{p.key}", "unknown key", hint, tuple(map("=".join, p.condition)))


def _meant(cfg: DictConfig, key: str) -> str:
    """Return a hint for an unknown key: a similar key, or the known ones."""
    above, _, name = key.rpartition(".")
    known, offered = lookup.keys(cfg), signatures.offered(cfg, above)
    if any(k.startswith(f"{above}.") and not k.endswith("_target_") for k in known) or not offered:
        return nearest_key(known, key)
    meant = closest(name, offered)
    listed = ", ".join(f"{above}.{each}" for each in offered[:12])
    return f"did you mean {f'{above}.{meant}'!r}?" if meant else f"known options: {listed}"


def _unfit(p: Parameter, annotation: Any) -> list[Mistake]:
    """Return an error for each invalid choice, or one for a range with an invalid end."""
    bad = [value for value in _values(p) if not conforms(value, annotation)]
    lines = [mistake(p.key, annotation, value, _cure(value, annotation)) for value in bad]
    return lines if isinstance(p.distribution, Categorical) else lines[:1]


def _values(p: Parameter) -> list[Any]:
    """Return boundary values as the objective would receive them."""
    values = []
    for stored in p.distribution.samples():
        value = override_parser.parse(f"x={p.distribution.text(stored)}").value()
        values.append(value)
    return values


def _cure(value: object, annotation: Any) -> str:
    kind = bare(annotation)
    if isinstance(value, float) and conforms(1, kind) and not conforms(value, kind):
        return "an interval is continuous; write int(interval(a, b)) for integers"
    return ""


def _constants(branch: Branch, selection: Sequence[str]) -> list[str]:
    found = list(branch.constants)
    for p in branch.parameters:
        for text, below in p.branches.items():
            if p.override(text) in selection:
                found.extend(_constants(below, selection))
    return found
