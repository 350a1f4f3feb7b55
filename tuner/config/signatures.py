"""Check a composed configuration against the signatures of the callables that it names.

Every ``_target_`` below the objective, sampler, pruner and launcher is located, and its keys and
value types are compared with the parameters. All errors are collected before any work.
"""

import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tuner.config.bounds import Keywords
from tuner.config.lookup import at, has_key
from tuner.config.settings import SECTIONS
from tuner.config.targets import signature
from tuner.config.types import conforms, mistake, nearest
from tuner.errors import ConfigError, Mistake

HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
INJECTED = {
    "objective": {"report", "run_dir", "device"},
    "sampler": {"search_space", "seed", "independent_sampler", "space", "scoreboard"},
}
"""Keyword arguments that are passed at run time to callables whose signature has them."""


@dataclass(frozen=True)
class Field:
    """A leaf of the configuration that is passed to a typed parameter or section."""

    annotation: Any
    value: object


LACKING = "is mandatory (???), but has no value"

ROOTS = ("objective", "sampler", "pruner", "launch", "tracking")


def check(cfg: DictConfig, roots: Sequence[str] = ROOTS) -> list[Mistake]:
    """Return all errors of a configuration: types, unknown and missing keys, invalid targets."""
    return list(dict.fromkeys(_Checker(cfg, roots).run().mistakes))


def reachable(cfg: DictConfig) -> dict[str, Field]:
    """Return path → typed leaf for everything that objective, sampler, pruner and sections read."""
    return _Checker(cfg, ROOTS).run().fields


class _Checker:
    """Visits sections and ``_target_`` nodes; interpolated nodes keep the path that users type."""

    def __init__(self, cfg: DictConfig, roots: Sequence[str]) -> None:
        self.cfg = cfg
        self.roots = roots
        self.mistakes: list[Mistake] = []
        self.fields: dict[str, Field] = {}

    def run(self) -> "_Checker":
        for name, section in SECTIONS.items():
            self._section(name, section)
        for root in self.roots:
            node = self._get(self.cfg, root, root)
            if isinstance(node, DictConfig) and "_target_" in node:
                self._target(root, node, INJECTED.get(root, set()))
            elif root == "objective":
                hint = "objective=cnn, or objective._target_=module.name, also in a YAML file"
                self.mistakes.append(Mistake("objective", "no objective to call", hint))
        return self

    def _section(self, name: str, section: type) -> None:
        node = self._get(self.cfg, name, name)
        if not isinstance(node, DictConfig):
            self.mistakes.append(Mistake(name, "the section is missing"))
            return
        known = {field.name: field.type for field in fields(section)}
        self._compare(name, node, known, required=set(known))

    def _target(
        self, path: str, node: DictConfig, injected: set[str], declared: Any = None
    ) -> None:
        if not (isinstance(node._target_, str) and node._target_.strip()):
            self.mistakes.append(mistake(f"{path}._target_", str, node._target_, "module.name"))
            return
        try:
            parameters, open_ended = signature(node._target_)
        except ConfigError as error:
            self.mistakes.extend(m.at(f"{path}._target_") for m in error.mistakes)
            return
        required = {n for n, (_, needed) in parameters.items() if needed} - injected
        if path == "objective" and takes_seed(node):
            required.discard("seed")
        if node.get("_partial_"):
            required = set()
        known = {n: _narrowed(n, a, declared) for n, (a, _) in parameters.items()}
        self._compare(path, node, known, required, open_ended)
        if path == "objective" and "report" not in parameters and not open_ended:
            told = f"{node._target_} has no parameter 'report'"
            hint = (
                "add the keyword argument `report` and call report(epoch, metric=value) after "
                "each epoch"
            )
            self.mistakes.append(Mistake(f"{path}._target_", told, hint))

    def _compare(
        self,
        path: str,
        node: DictConfig,
        known: Mapping[str, Any],
        required: set[str],
        open_ended: bool = False,
    ) -> None:
        names = [str(name) for name in node if name not in HYDRA_KEYS]
        for name in names:
            if name in known:
                self._leaf(path, node, name, known[name])
            elif not open_ended:
                hint = nearest(name, sorted(known))
                self.mistakes.append(Mistake(f"{path}.{name}", "unknown key", hint))
        for name in sorted(required - set(names)):
            self.mistakes.append(Mistake(f"{path}.{name}", "missing"))

    def _leaf(self, parent: str, node: DictConfig, name: str, annotation: Any) -> None:
        raw = node._get_node(name)
        # The path of a section that the objective reads is that of the section; any other
        # interpolated value has the path of the key that refers to it.
        typed = _typed_path(raw) or f"{parent}.{name}"
        path = typed if parent == "objective" else f"{parent}.{name}"
        value = self._get(node, name, path)
        if isinstance(value, DictConfig) and "_target_" in value:
            self._target(typed, value, set(), annotation)
            return
        if value is not _BROKEN and (plain := self._plain(value, path)) is not _BROKEN:
            self.fields[typed] = Field(annotation, plain)
            if not conforms(plain, annotation):
                self.mistakes.append(mistake(path, annotation, plain))

    def _plain(self, value: Any, path: str) -> Any:
        try:
            return (
                OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            )
        except OmegaConfBaseException as error:
            self.mistakes.append(_unresolved(path, error))
            return _BROKEN

    def _get(self, node: DictConfig, name: str, path: str) -> Any:
        try:
            return node[name] if name in node or OmegaConf.is_missing(node, name) else None
        except OmegaConfBaseException as error:
            self.mistakes.append(_unresolved(path, error))
            return _BROKEN


_BROKEN = object()


def lacking(error: Exception) -> Mistake | None:
    """Return the error that a key has no value (``???``), or None for any other exception."""
    found = re.search(r"Missing mandatory value: (\S+)$", str(error).partition("\n")[0])
    return Mistake(found[1], LACKING, f"{found[1]}=VALUE, or search it") if found else None


def _unresolved(path: str, error: OmegaConfBaseException) -> Mistake:
    return lacking(error) or Mistake(path, str(error).splitlines()[0])


def _narrowed(name: str, annotation: Any, declared: Any) -> Any:
    """Return a keyword's annotation with the bounds that the receiver of the partial declares."""
    for mark in getattr(declared, "__metadata__", ()):
        if isinstance(mark, Keywords) and name in mark.bounds:
            annotation = typing.Annotated[annotation, mark.bounds[name]]
    return annotation


def accepts(cfg: DictConfig, key: str) -> bool:
    """Return whether an absent key is a keyword of the callable of its section.

    Such a keyword has a default, which need not be repeated in YAML.
    """
    above, _, name = key.rpartition(".")
    if not above or has_key(cfg, key) or name in INJECTED.get(above, ()):
        return False
    node = at(cfg, above)
    if not (isinstance(node, DictConfig) and isinstance(node.get("_target_"), str)):
        return False
    try:
        return name in signature(node._target_)[0]
    except ConfigError:  # told by ``check``
        return False


def offered(cfg: DictConfig, above: str) -> list[str]:
    """Return the keywords of a section's callable, without those passed at run time."""
    node = at(cfg, above) if above else None
    if not (isinstance(node, DictConfig) and isinstance(node.get("_target_"), str)):
        return []
    try:
        return [name for name in signature(node._target_)[0] if name not in INJECTED.get(above, ())]
    except ConfigError:  # told by ``check``
        return []


def takes_seed(node: DictConfig) -> bool:
    """Return whether to pass a seed to an objective: it has an integer parameter ``seed``, and its
    configuration does not set it.
    """
    parameters, _ = signature(str(node._target_))
    return "seed" in parameters and "seed" not in node and conforms(0, parameters["seed"][0])


def _typed_path(raw: Any) -> str | None:
    """Return the path that users type for this node, ``model`` for ``${model}``, or None."""
    value = raw._value() if raw is not None else None
    if isinstance(value, str) and value.startswith("${") and value.endswith("}"):
        inner = value[2:-1]
        return inner if inner.replace(".", "").replace("_", "").isalnum() else None
    return None
