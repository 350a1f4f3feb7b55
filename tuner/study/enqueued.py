"""The queue: configurations to try before the sampler's proposals.

These are the default values of the configuration, those of ``study.enqueue``, and the best of a
prior study. Each becomes an ordinary trial: parameters that are known and in the space are fixed,
and the sampler draws the others.
"""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tuner.config import lookup, override_parser
from tuner.config.composition import Source
from tuner.config.override_text import text_of
from tuner.config.suggestions import nearest_key
from tuner.errors import ConfigError, Mistake
from tuner.space.distributions import Categorical, Distribution, Float, Scalar
from tuner.space.tree import Parameter, Space
from tuner.study.queue import Item


def located(
    space: Space, value_of: Callable[[Parameter], object]
) -> tuple[dict[str, Scalar], list[Parameter]]:
    """Return the parameters that are active for given values, and those with an invalid value.

    ``value_of`` returns the value of a parameter; if it raises ``KeyError``, the value counts as
    invalid.
    """
    fixed: dict[str, Scalar] = {}
    outside: list[Parameter] = []
    todo = [space.root]
    while todo:
        for p in todo.pop(0).parameters:
            try:
                fixed[p.name] = locate(p.distribution, value_of(p))
            except (KeyError, ValueError):
                outside.append(p)
                continue
            text = p.distribution.text(fixed[p.name])
            if text in p.branches:
                todo.append(p.branches[text])
    return fixed, outside


def locate(distribution: Distribution, value: object) -> Scalar:
    """Return the value as the study stores it.

    Raises:
        ValueError: The value is outside of the distribution.
    """
    if isinstance(distribution, Categorical):
        for choice, text in zip(distribution.choices, distribution.texts, strict=True):
            if text == text_of(value) or _same(choice, value):
                return choice
        raise ValueError(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(value)
    if not distribution.low <= value <= distribution.high:
        raise ValueError(value)
    steps = (value - distribution.low) / (distribution.step or 1)
    if distribution.step is not None and not math.isclose(steps, round(steps), abs_tol=1e-9):
        raise ValueError(value)
    return float(value) if isinstance(distribution, Float) else int(value)


def _same(choice: Scalar, value: object) -> bool:
    """Return whether values are equal, including a whole float and its int, but not a bool."""
    return choice == value and isinstance(choice, bool) == isinstance(value, bool)


def build(
    source: Source,
    plain: Sequence[str],
    space: Space,
    lists: Sequence[Sequence[str] | str],
    *,
    defaults: bool,
) -> tuple[list[Item], list[Mistake]]:
    """Return the queue of a command line, and all errors in ``study.enqueue``.

    ``plain`` are the command line's plain overrides. A list may be incomplete: other keys have the
    values of the configuration, as for ``tuner train``.
    """
    reader = _Reader(source, plain, space)
    items = [reader.item("the defaults", [])] if defaults else []
    for place, given in enumerate(lists):
        where = f"study.enqueue[{place}]"
        try:
            texts = shlex.split(given) if isinstance(given, str) else given
        except ValueError as error:
            told = f"{error} in {given!r}"
            reader.mistaken(where, told, "a list of overrides")
            continue
        # The output of `tuner best --overrides` also locates the configuration.
        items.append(reader.item(where, [text for text in texts if not text.startswith("--")]))
    unique = {item.key: item for item in items if item is not None and item.params}
    return list(unique.values()), reader.mistakes


class _Reader:
    def __init__(self, source: Source, plain: Sequence[str], space: Space) -> None:
        self.source, self.plain, self.space = source, plain, space
        self.searched = {p.key: p for p in space.parameters()}
        self.mistakes: list[Mistake] = []
        self.composed: dict[tuple[str, ...], tuple[DictConfig, Mapping[str, Any]]] = {}

    def item(self, where: str, texts: Sequence[str]) -> Item | None:
        """Return one item, or None if it has errors, which are recorded."""
        before = len(self.mistakes)
        given = self._given(where, texts)
        if len(self.mistakes) > before:
            return None
        groups = [f"{k}={text_of(v)}" for k, v in given.items() if self.source.options(k)]

        def value_of(p: Parameter) -> object:
            return given[p.key] if p.key in given else self._value(p.key, groups)

        fixed, outside = located(self.space, value_of)
        left_out = {p.key for p in outside}
        active = left_out | {name.split("@")[0] for name in fixed}
        for key, value in given.items():
            text = f"{key}={text_of(value)}"
            if key in left_out:
                told = f"{text} is outside {self.searched[key].distribution}"
                self.mistaken(where, told, f"use a value within, or widen {key}")
            elif key not in active:
                needs = " and ".join("=".join(c) for c in self.searched[key].condition)
                self.mistaken(where, f"{text} has no effect here", f"it requires {needs}")
        return Item(fixed, where) if len(self.mistakes) == before else None

    def mistaken(self, where: str, problem: str, hint: str) -> None:
        self.mistakes.append(Mistake(where, problem, hint))

    def _given(self, where: str, texts: Sequence[str]) -> dict[str, object]:
        """Return the searched values of a list; its other overrides must not change anything."""
        given: dict[str, object] = {}
        for text in texts:
            try:
                override = override_parser.parse(text)
            except ConfigError as error:
                self.mistakes.extend(m.at(where) for m in error.mistakes)
                continue
            key = override.key_or_group
            if override.is_sweep_override():
                self.mistaken(where, f"{text} is a sweep, expected a value", "give one value")
            elif key in self.searched:
                self._note(where, text, key, override.value(), given)
            elif key != "seed":  # each trial has its own seed
                self._fixed_elsewhere(where, text, key, override.value())
        return given

    def _note(
        self, where: str, text: str, key: str, value: object, given: dict[str, object]
    ) -> None:
        options = self.source.options(key)
        if options and value not in options:
            known = ", ".join(options)
            self.mistaken(where, f"{text} is not an option", f"known options: {known}")
        else:
            given[key] = value

    def _fixed_elsewhere(self, where: str, text: str, key: str, value: object) -> None:
        cfg, _ = self._compose([])
        if not self.source.options(key) and not lookup.has_key(cfg, key):
            hint = nearest_key(lookup.keys(cfg), key)
            self.mistaken(where, f"unknown key {key!r}", hint)
        elif text_of(value) != text_of(self._value(key, [])):
            hint = "pin it on the command line, or search it"
            self.mistaken(where, f"{text} is not searched", hint)

    def _value(self, key: str, groups: Sequence[str]) -> object:
        cfg, choices = self._compose(groups)
        if self.source.options(key):
            return choices.get(key)
        if not lookup.has_key(cfg, key) or lookup.is_missing(cfg, key):
            return "???"
        value = OmegaConf.select(cfg, key)
        return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value

    def _compose(self, groups: Sequence[str]) -> tuple[DictConfig, Mapping[str, Any]]:
        """Compose once for each selection of groups, because composing is slow."""
        key = tuple(groups)
        if key not in self.composed:
            self.composed[key] = self.source.compose_with_choices([*self.plain, *groups])
        return self.composed[key]
