"""Access nodes of a configuration: keys, text, and sections as dataclasses."""

import typing
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tuner.errors import section as section_of
from tuner.masking import hidden

Section = typing.TypeVar("Section")

OPERATIONAL = {
    "study", "budget", "storage", "sampler", "pruner", "space", "launch", "worker", "final",
    "tracking",
}  # fmt: skip
"""Sections that configure the search and its location; a trial's own overrides omit them."""
KEPT = {"study.metric", "study.direction", "study.objectives", "study.constraints"}
"""Exceptions that the objective may read."""


def key_of(override: str) -> str:
    """Return the key of an override, without its prefix and value."""
    return override.partition("=")[0].lstrip("+~")


def is_operational(override: str) -> bool:
    """Return whether an override configures the search, so that it is not part of a trial."""
    key = key_of(override)
    return section_of(key) in OPERATIONAL and ".".join(key.split(".")[:2]) not in KEPT


def has_key(cfg: DictConfig, key: str) -> bool:
    """Return whether ``key`` (``a.b.c``) exists, whatever its value, including ``???``."""
    node, last = _holder(cfg, key)
    return node is not None and (last in node or OmegaConf.is_missing(node, last))


def is_missing(cfg: DictConfig, key: str) -> bool:
    """Return whether ``key`` is mandatory and has no value yet: it is ``???``."""
    node, last = _holder(cfg, key)
    return node is not None and OmegaConf.is_missing(node, last)


def _holder(cfg: DictConfig, key: str) -> tuple[DictConfig | None, str]:
    """Return the parent node of a key, None if there is none, and the last part of its name."""
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return node if isinstance(node, DictConfig) else None, last


def keys(cfg: DictConfig, prefix: str = "") -> list[str]:
    """Return the paths of all leaves and nodes, for hints."""
    found: list[str] = []
    for name in map(str, cfg):
        path = f"{prefix}{name}"
        found.append(path)
        child = cfg._get_node(name)
        if isinstance(child, DictConfig) and not (
            child._is_none() or child._is_interpolation() or child._is_missing()
        ):
            found.extend(keys(child, f"{path}."))
    return found


def put(cfg: DictConfig, key: str, value: object) -> None:
    """Set ``key`` to a value, replacing any present one.

    Raises:
        OmegaConfBaseException: The node's type does not accept the value.
    """
    OmegaConf.update(cfg, key, value, merge=False, force_add=True)


def section(cfg: DictConfig, name: str, kind: type[Section]) -> Section:
    """Return a checked section of the configuration as its dataclass."""
    return kind(**plain(cfg, name))


def plain(cfg: DictConfig, name: str) -> dict[str, Any]:
    """Return a section as a dict, empty if it is absent or null."""
    node = cfg.get(name)
    return typing.cast(dict[str, Any], OmegaConf.to_container(node, resolve=True)) if node else {}


def at(cfg: DictConfig, key: str) -> Any:
    """Return the value of a key; None if it is absent or refers to an absent one."""
    return OmegaConf.select(cfg, key, throw_on_resolution_failure=False)


def text_at(cfg: DictConfig, key: str) -> str | None:
    """Return the text of a leaf; None if it is absent, not a text, or cannot be resolved."""
    try:
        found = OmegaConf.select(cfg, key)
    except OmegaConfBaseException:
        return None
    return found if isinstance(found, str) else None


def text(cfg: DictConfig, *, without: Sequence[str] = ()) -> str:
    """Return the configuration as YAML, without some sections and the secrets of URLs."""
    kept = OmegaConf.create({k: cfg._get_node(k) for k in cfg if k not in without})
    values = _hidden(OmegaConf.to_container(kept))
    return OmegaConf.to_yaml(OmegaConf.create(values))


def remember(cfg: DictConfig) -> None:
    """Record the secrets of the URLs in a configuration, so that logs mask them."""
    _hidden(OmegaConf.to_container(cfg))


def _hidden(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _hidden(item) for key, item in node.items()}
    if isinstance(node, list):
        return [_hidden(item) for item in node]
    return hidden(node) if isinstance(node, str) else node
