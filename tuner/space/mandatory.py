"""Mandatory values (``???``), which a command line or a search has to provide."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tuner.config import lookup, override_parser
from tuner.config.composition import Source
from tuner.config.signatures import LACKING, accepts
from tuner.errors import ConfigError, Mistake
from tuner.space.tree import Parameter, Space


def compose(source: Source, overrides: Sequence[str]) -> tuple[list[str], DictConfig | ConfigError]:
    """Compose, with the first option of each mandatory group (``db: ???`` in a defaults list).

    Returns:
        These options as overrides, and the configuration or the error.
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


def unspecified(source: Source, stand_ins: Sequence[str], space: Space) -> list[Mistake]:
    """Return an error for each mandatory group that is neither given nor searched.

    ``stand_ins`` are the overrides that ``compose`` returned.
    """
    groups = {text.partition("=")[0] for text in stand_ins} - {p.key for p in space.parameters()}
    return [
        Mistake(group, LACKING, f"{group}={' or '.join(source.options(group))}, or search it")
        for group in sorted(groups)
    ]


def filled(
    cfg: DictConfig, parameters: Iterable[Parameter], *, with_targets: bool = True
) -> DictConfig:
    """Return ``cfg`` with a value from the search space for each searched key that has none.

    These keys are ``???``, keys added by ``+``, and parameters of a ``_target_`` that YAML omits.
    To find the latter, the target is imported; ``with_targets=False`` skips them.
    """
    lacking = [
        p
        for p in parameters
        if p.sign or lookup.is_missing(cfg, p.key) or (with_targets and accepts(cfg, p.key))
    ]
    if not lacking:
        return cfg
    whole = cfg.copy()
    for p in lacking:
        text = p.distribution.text(p.distribution.samples()[0])
        value = override_parser.parse(f"x={text}").value()
        with suppress(OmegaConfBaseException):  # reported when the ends of its range are checked
            lookup.put(whole, p.key, value)
    return whole


def doubts(source: Source, cfg: DictConfig, space: Space) -> list[Mistake]:
    """Return warnings about keys of an application that are ``???`` and not searched.

    They are not errors: the application may set them itself, or not read them at all.
    """
    if not source.open_ended:
        return []
    searched = {p.key for p in space.parameters()}
    return [
        Mistake(key, LACKING, f"{key}=VALUE, or search it, unless the application sets it")
        for key in lookup.keys(cfg)
        if lookup.is_missing(cfg, key) and key not in searched
    ]
