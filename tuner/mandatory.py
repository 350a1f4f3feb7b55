"""Values that a configuration leaves open, ``???``, until a command line or a search gives them."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tuner import config, nodes
from tuner.binding import LACKING, accepts
from tuner.config import Source
from tuner.errors import ConfigError
from tuner.space import Parameter, Space


def compose(source: Source, overrides: Sequence[str]) -> tuple[list[str], DictConfig | ConfigError]:
    """Compose, with the first option of each group that a defaults list leaves open (``db: ???``).

    Returns these options as overrides, and what came of it.
    """
    found: dict[str, str] = {}
    while True:
        try:
            return [*found.values()], source.compose([*found.values(), *overrides])
        except ConfigError as error:
            left = re.match(r"You must specify '([^']+)'", str(error))
            options = source.options(left[1]) if left and left[1] not in found else []
            if not (left and options):
                return [*found.values()], error
            found[left[1]] = f"{left[1]}={options[0]}"


def unspecified(source: Source, stand_ins: Sequence[str], space: Space) -> list[str]:
    """Groups that ``compose`` found an option for, and that are not searched either."""
    groups = {text.partition("=")[0] for text in stand_ins} - {p.key for p in space.parameters()}
    return [
        f"{group}: {LACKING}; hint: {group}={' or '.join(source.options(group))}, or search it"
        for group in sorted(groups)
    ]


def filled(cfg: DictConfig, parameters: Iterable[Parameter]) -> DictConfig:
    """``cfg`` with a searched value wherever it has none.

    That is ``???``, keys that a + adds, and keywords whose defaults the YAML does not repeat.
    """
    lacking = [
        p for p in parameters if p.sign or nodes.is_missing(cfg, p.key) or accepts(cfg, p.key)
    ]
    if not lacking:
        return cfg
    whole = cfg.copy()
    for p in lacking:
        value = config.parse(f"x={p.distribution.text(p.distribution.samples()[0])}").value()
        with suppress(OmegaConfBaseException):  # of another type: judged with the ends of its range
            nodes.put(whole, p.key, value)
    return whole


def doubts(source: Source, cfg: DictConfig, space: Space) -> list[str]:
    """Keys of an application's that are ``???`` and are not searched.

    No mistakes: it may set them itself, or read them under some options alone.
    """
    if not source.open_ended:
        return []
    searched = {p.key for p in space.parameters()}
    return [
        f"{key}: {LACKING}; hint: {key}=VALUE, or search it, unless the application sets it"
        for key in nodes.keys(cfg)
        if nodes.is_missing(cfg, key) and key not in searched
    ]
