"""Configurations at the edges of a search space, put before the objective and not run.

Single values have been judged by then; here shows what does not go together, and what only the
callables themselves know, such as torch's optimisers.
"""

import functools
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from tuner import config
from tuner.space import Space

BESIDE = {"space", "storage", "sampler", "pruner", "launch", "worker", "final"}
"""Sections that an objective cannot read; copying them would take half of the time."""


def mistakes(cfg: DictConfig, space: Space, groups: Sequence[str], *, every: bool) -> list[str]:
    """What the objective refuses of configurations that the sampler may propose.

    ``cfg`` is composed with ``groups``, the options of config groups, which are kept; see
    ``Space.edges`` for ``every``.  A configuration that is merely impossible to train is no
    mistake: the search learns to avoid it.
    """
    chosen = dict(text.split("=", 1) for text in groups)
    parse = functools.cache(config.parse)
    read = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in BESIDE])
    found: list[str] = []
    for overrides in space.edges(chosen, every=every):
        edge = read.copy()
        for override in map(parse, overrides):
            if override.key_or_group not in chosen:
                OmegaConf.update(edge, override.key_or_group, override.value(), merge=False)
        found.extend(config.rehearse(edge)[0])
    return list(dict.fromkeys(found))
