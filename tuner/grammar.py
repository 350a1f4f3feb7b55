"""Reads a search space written in Hydra's own sweep grammar, in YAML and on the command line."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)

from tuner.errors import ConfigError
from tuner.space import Branch, Categorical, Distribution, Float, Int, Parameter, Scalar, Space
from tuner.texts import text_of


def build(
    written: Mapping[str, object],
    overrides: Sequence[Override],
    parse: Callable[[str], Override],
    options: Callable[[str], Sequence[str]] = lambda _group: (),
) -> tuple[Space, list[str]]:
    """The space of a configuration under the command line's overrides, and all its mistakes.

    ``options`` lists a config group, for ``glob(*)``.  A sweep override replaces a key's
    distribution wherever it stands, or adds the key; a plain override pins the key: it leaves the
    space, and of a mapping only the chosen branch stays.
    """
    reader = _Reader(parse, options)
    root = reader.branch(written, (), "space")
    for override in overrides:
        if not override.is_sweep_override():
            root = reader.pinned(root, override.key_or_group, reader.element(override))
    for override in overrides:
        if override.is_sweep_override():
            try:
                distribution = reader.distribution(override)
                root = reader.swept(root, override.key_or_group, distribution)
            except ConfigError as error:
                reader.mistakes.append(f"{override.input_line}: {error}")
    reader.check_unique(root)
    return Space(root), reader.mistakes


class _Reader:
    def __init__(
        self, parse: Callable[[str], Override], options: Callable[[str], Sequence[str]]
    ) -> None:
        self.parse = parse
        self.options = options
        self.mistakes: list[str] = []

    def branch(
        self, written: Mapping[str, object], condition: tuple[tuple[str, str], ...], where: str
    ) -> Branch:
        parameters: list[Parameter] = []
        constants: list[str] = []
        for key, value in written.items():
            try:
                if isinstance(value, Mapping):
                    parameters.append(self._mapping(str(key), value, condition, f"{where}.{key}"))
                elif value is not None:
                    self._entry(str(key), value, condition, parameters, constants)
            except ConfigError as error:
                self.mistakes.append(f"{where}: {key}: {error}")
        return Branch(tuple(parameters), tuple(constants))

    def _entry(
        self,
        key: str,
        value: object,
        condition: tuple[tuple[str, str], ...],
        parameters: list[Parameter],
        constants: list[str],
    ) -> None:
        if isinstance(value, list):
            raise ConfigError(
                f"a list cannot be searched, got {value!r}; hint: write choice("
                f"{', '.join(map(str, value))})"
            )
        override = self.parse(f"{key}={_plain(value)}")
        if override.is_sweep_override():
            parameters.append(Parameter(key, self.distribution(override), condition))
        else:
            constants.append(f"{key}={self.element(override)}")

    def _mapping(
        self,
        key: str,
        options: Mapping[object, object],
        condition: tuple[tuple[str, str], ...],
        where: str,
    ) -> Parameter:
        if not options:
            raise ConfigError("a mapping without options; hint: list them, as in sgd: {…}")
        parsed = [self.parse(f"{key}={_plain(option)}") for option in options]
        texts = tuple(self.element(o) for o in parsed)
        branches: dict[str, Branch] = {}
        for text, (option, below) in zip(texts, options.items(), strict=True):
            if below is not None and not isinstance(below, Mapping):
                raise ConfigError(
                    f"option {option} must own a mapping of keys, got {below!r}; hint: {{}} if "
                    "nothing depends on it"
                )
            branches[text] = self.branch(
                below or {}, (*condition, (key, text)), f"{where}.{option}"
            )
        stored = tuple(map(_stored, (o.value() for o in parsed), texts))
        return Parameter(key, categorical(stored, texts), condition, branches)

    def element(self, override: Override) -> str:
        """The value's text as Hydra writes it."""
        if override.is_delete():
            return ""
        return text_of(override.value())

    def distribution(self, override: Override) -> Distribution:
        """What a sweep override stands for; ``ConfigError`` if it is impossible."""
        sweep = override._value
        tags = set(getattr(sweep, "tags", ()))
        if unknown := tags - {"log"}:
            raise ConfigError(f"unknown tag {sorted(unknown)[0]!r}; hint: the only tag is log")
        log = "log" in tags
        if isinstance(sweep, IntervalSweep):
            return _interval(sweep, log)
        if log:
            raise ConfigError("only an interval can be log; hint: tag(log, interval(a, b))")
        if isinstance(sweep, RangeSweep):
            return _range(sweep)
        if isinstance(sweep, Glob):
            found = sweep.filter(list(self.options(override.key_or_group)))
            return categorical(tuple(found), tuple(found))
        assert isinstance(sweep, ChoiceSweep)
        elements = override.sweep_iterator(Transformer.identity)
        values = [Override._convert_value(element) for element in elements]
        texts = tuple(map(text_of, values))
        return categorical(tuple(map(_stored, values, texts)), texts)

    def swept(self, root: Branch, key: str, distribution: Distribution) -> Branch:
        if not any(p.key == key for p in Space(root).parameters()):
            return replace(root, parameters=(*root.parameters, Parameter(key, distribution)))
        return _mapped(root, lambda p: _resweep(p, distribution) if p.key == key else p)

    def pinned(self, root: Branch, key: str, text: str) -> Branch:
        """``root`` without the parameter; a mapping's chosen branch moves up in its place."""
        parameters: list[Parameter] = []
        constants = [c for c in root.constants if not c.startswith(f"{key}=")]
        for p in root.parameters:
            if p.key != key:
                below = {t: self.pinned(b, key, text) for t, b in p.branches.items()}
                parameters.append(replace(p, branches=below))
            elif text in p.branches:
                kept = self.pinned(p.branches[text], key, text)
                parameters.extend(kept.parameters)
                constants.extend(kept.constants)
        return Branch(tuple(parameters), tuple(constants))

    def check_unique(self, root: Branch) -> None:
        seen: dict[str, int] = {}
        for p in Space(root).parameters():
            seen[p.name] = seen.get(p.name, 0) + 1
        self.mistakes.extend(
            f"space: {name} is searched {count} times; hint: give each key one place"
            for name, count in seen.items()
            if count > 1
        )
        always = {p.key for p in root.parameters}
        self.mistakes.extend(
            f"space: {p.key} is searched both always and under {p.condition[-1][0]}="
            f"{p.condition[-1][1]}; hint: keep one of the two"
            for p in Space(root).parameters()
            if p not in root.parameters and p.key in always
        )


def categorical(choices: tuple[Scalar, ...], texts: tuple[str, ...]) -> Categorical:
    """A checked categorical; ``ConfigError`` on an empty or repeated choice."""
    if not choices:
        raise ConfigError("a choice without options")
    for i, choice in enumerate(choices):
        if choice in choices[:i]:
            raise ConfigError(f"the choice {texts[i]} stands twice; hint: list each option once")
    return Categorical(choices, texts)


def _interval(sweep: IntervalSweep, log: bool) -> Distribution:
    low, high = sweep.start, sweep.end
    assert low is not None
    assert high is not None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"the interval from {low} to {high} is not finite; hint: write numbers")
    if low >= high:
        cure = f"interval({high:g}, {low:g})" if high < low else "two numbers that differ"
        raise ConfigError(f"the interval is empty: {low:g} is not below {high:g}; hint: {cure}")
    if log and low <= 0:
        small = 1 if isinstance(low, int) else "1e-5"
        raise ConfigError(f"a log interval must start above 0, got {low:g}; hint: {small}, say")
    if isinstance(low, int) and isinstance(high, int):
        return Int(low, high, log)
    return Float(low, high, log)


def _range(sweep: RangeSweep) -> Distribution:
    """The grid from ``start`` by ``step``, without ``stop``, counted in decimals as it is written.

    Hydra's own counts 0.7 three times and is still below 2.1.
    """
    parts = (sweep.start, sweep.stop, sweep.step)
    start, stop, step = (Decimal(repr(part)) for part in parts)
    if not all(part.is_finite() for part in (start, stop, step)):
        raise ConfigError(
            f"the range from {start} to {stop} by {step} is not finite; hint: numbers"
        )
    if step == 0:
        raise ConfigError("a range needs a step other than 0; hint: range(start, stop, step)")
    count = math.ceil((stop - start) / step)
    if count < 1:
        cure = "a start below the stop, or a step below 0" if step > 0 else "a step above 0"
        raise ConfigError(f"the range from {start} to {stop} by {step} is empty; hint: {cure}")
    low, high = sorted((start, start + (count - 1) * step))
    if all(isinstance(part, int) for part in parts):
        return Int(int(low), int(high), step=abs(int(step)))
    return Float(float(low), float(high), step=float(abs(step)))


def _resweep(p: Parameter, distribution: Distribution) -> Parameter:
    texts = distribution.texts if isinstance(distribution, Categorical) else ()
    kept = {text: branch for text, branch in p.branches.items() if text in texts}
    return replace(p, distribution=distribution, branches=kept)


def _mapped(branch: Branch, change: Callable[[Parameter], Parameter]) -> Branch:
    def one(p: Parameter) -> Parameter:
        below = {text: _mapped(b, change) for text, b in p.branches.items()}
        return change(replace(p, branches=below))

    return replace(branch, parameters=tuple(one(p) for p in branch.parameters))


def _stored(value: object, text: str) -> Scalar:
    return value if value is None or isinstance(value, bool | int | float | str) else text


def _plain(value: object) -> str:
    """A YAML scalar as override text."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
