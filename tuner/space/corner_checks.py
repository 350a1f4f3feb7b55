"""Check configurations at the corners of a search space with the objective, without running it.

Single values have been checked before. These checks find incompatible combinations, and errors that
only the callables themselves detect, such as torch's optimisers.
"""

import functools
import pickle
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tuner.config import instantiation, lookup, override_parser, signatures
from tuner.errors import Mistake
from tuner.space.distributions import Float
from tuner.space.tree import Space

BESIDE = {"space", "storage", "sampler", "pruner", "launch", "worker", "final"}
"""Sections that an objective cannot read; copying them would take half of the time."""


def mistakes(cfg: DictConfig, space: Space, groups: Sequence[str], *, every: bool) -> list[Mistake]:
    """Return the objective's errors for configurations that the sampler may propose.

    ``cfg`` is composed with ``groups``, the options of config groups, which are kept; see
    ``Space.edges`` for ``every``. A configuration that is merely infeasible is not an error: the
    sampler learns to avoid it.
    """
    chosen = dict(text.lstrip("+").split("=", 1) for text in groups)
    parse = functools.cache(override_parser.parse)
    read = pickle.dumps(OmegaConf.masked_copy(cfg, [str(k) for k in cfg if k not in BESIDE]))
    found: list[Mistake] = []
    for overrides in space.edges(chosen, every=every):
        edge = pickle.loads(read)
        for override in map(parse, overrides):
            if override.key_or_group not in chosen:
                lookup.put(edge, override.key_or_group, override.value())
        found.extend(instantiation.dry_instantiate(edge)[0])
    return list(dict.fromkeys(found))


def fractions(cfg: DictConfig, space: Space) -> list[Mistake]:
    """Return a warning for each searched key that may get fractions instead of integers.

    These are not errors, because the type is not declared: ``x: 1`` may be meant as 1.0.
    """
    typed = {key for key, field in signatures.reachable(cfg).items() if field.annotation is not Any}
    found = []
    for p in space.parameters():
        if p.key in typed or not isinstance(p.distribution, Float) or not _is_whole(p.distribution):
            continue
        now = lookup.at(cfg, p.key)
        if isinstance(now, int) and not isinstance(now, bool):
            told = f"the configuration has an integer, {now}, but an interval is continuous"
            hint = f"{_whole(p.distribution)} for integers only"
            found.append(Mistake(p.key, told, hint))
    return found


def _is_whole(asked: Float) -> bool:
    return asked.step is None and asked.low.is_integer() and asked.high.is_integer()


def _whole(asked: Float) -> str:
    ends = f"interval({asked.low:.0f}, {asked.high:.0f})"
    return f"int(tag(log, {ends}))" if asked.log else f"int({ends})"


def where(at: Sequence[Sequence[str]], contexts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the options of groups under which an error occurs, such as ``a=b or c``.

    The result is empty if it occurs under all options. ``at`` are those of all ``contexts`` in
    which it was found.
    """
    here, everywhere = _options(at), _options(contexts)
    return tuple(
        f"{group}={' or '.join(options)}"
        for group, options in here.items()
        if options.keys() != everywhere[group].keys()
    )


def _options(contexts: Sequence[Sequence[str]]) -> dict[str, dict[str, None]]:
    found: dict[str, dict[str, None]] = {}
    for context in contexts:
        for text in context:
            group, _, option = text.partition("=")
            found.setdefault(group, {})[option] = None
    return found
