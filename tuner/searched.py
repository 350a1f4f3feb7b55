"""What is wrong with the parameters of a search space, each judged where its condition holds."""

import re
from collections.abc import Collection, Sequence
from typing import Any

from omegaconf import DictConfig

from tuner import binding, config, edges, mandatory, nodes
from tuner.config import Source
from tuner.distributions import Categorical
from tuner.errors import ConfigError, blamed
from tuner.nodes import OPERATIONAL
from tuner.schema import bare, conforms, mistake, nearest
from tuner.space import Branch, Parameter, Space
from tuner.typos import nearest_key


def mistakes(
    source: Source, plain: Sequence[str], space: Space, known: Sequence[str], lost: Collection[str]
) -> list[str]:
    """Keys, options and types of the space, each judged where its condition holds.

    What is ``known`` to be wrong everywhere is not said again, and nothing of the sections that
    are ``lost``, of which nobody knows what they would have had.
    """
    if "space" in lost:
        return []
    if not any(True for _ in space.parameters()):
        if any("cannot be parsed" in line for line in known):  # it may have been the sweep
            return []
        return ["space: nothing to search; hint: space=cnn, or a sweep such as a.b='choice(1,2)'"]
    return [line for line in _mistakes(source, plain, space, known) if _subject(line) not in lost]


def _subject(line: str) -> str:
    """The section of the parameter that a mistake is about."""
    said = re.match(r"(?:space: )?(?:unknown key ')?(\w+)", line)
    return said[1] if said else ""


def _mistakes(
    source: Source, plain: Sequence[str], space: Space, known: Sequence[str]
) -> list[str]:
    found: list[str] = []
    missing: set[str] = set()
    for p in space.parameters():
        if p.key.split(".")[0] in OPERATIONAL | {"seed", "hydra"}:
            found.append(f"{p.key}: cannot be searched; hint: only what the objective reads can")
            missing.add(p.key)
        elif options := source.options(p.key):
            texts = getattr(p.distribution, "texts", [str(p.distribution)])
            bad = [text for text in texts if text not in options]
            missing.update(map(p.override, bad))
            found.extend(
                f"space: {p.key} has no option {t!r}; hint: {nearest(t, options)}" for t in bad
            )
    contexts: dict[tuple[str, ...], list[Sequence[str]]] = {}
    for selection in space.contexts():
        if missing.isdisjoint(part for text in selection for part in (text, _key(text))):
            groups = tuple(text for text in selection if source.options(_key(text)))
            contexts.setdefault(groups, []).append(selection)
    sound = blamed(known) <= OPERATIONAL - {"space"}
    places: dict[str, list[tuple[str, ...]]] = {}
    for groups, selections in contexts.items():  # composing is slow: once for each set of groups
        first = groups == next(iter(contexts))
        for line in _context_mistakes(
            source, plain, space, groups, selections, every=first, whole=sound
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
    texts = [*plain, *groups, *constants]
    try:
        cfg = source.compose(texts)
    except ConfigError as error:
        return list(source.blame(texts, error).values())
    active = dict.fromkeys(p for s in selections for p in space.active(s))
    searched = [p for p in active if not source.options(p.key)]
    there = cfg
    cfg = mandatory.filled(cfg, searched)
    fields = binding.reachable(cfg)
    found = _refused(source, texts, searched)
    found.extend(
        mistake(f"space: {key}", fields[key].annotation, fields[key].value)
        for key in map(_key, constants)
        if key in fields and not conforms(fields[key].value, fields[key].annotation)
    )
    for p in searched:
        if p.sign == "+" and nodes.at(there, p.key) is not None:
            found.append(f"space: +{p.key}: is there already; hint: {p.key}=…, without the +")
        elif not nodes.has_key(cfg, p.key):
            found.append(_unknown(source, p, cfg, plain))
        elif p.key in fields:
            found.extend(_unfit(p, fields[p.key].annotation))
    if found or not whole:
        return found
    return edges.mistakes(cfg, space, groups, every=every)


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def _refused(source: Source, context: Sequence[str], searched: Sequence[Parameter]) -> list[str]:
    """Bounds that a configuration with types of its own, an application's, does not take."""
    if not source.open_ended:
        return []
    found: list[str] = []
    for end in (0, -1):
        ends = [p.override(p.distribution.text(p.distribution.samples()[end])) for p in searched]
        found.extend(source.mistakes([*context, *ends]).values())
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


def _unfit(p: Parameter, annotation: Any) -> list[str]:
    """A line for each choice that is of no use, and one for a range, whichever end it is."""
    bad = [value for value in _values(p) if not conforms(value, annotation)]
    lines = [mistake(p.key, annotation, value, _cure(value, annotation)) for value in bad]
    return lines if isinstance(p.distribution, Categorical) else lines[:1]


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
            if p.override(text) in selection:
                found.extend(_constants(below, selection))
    return found
