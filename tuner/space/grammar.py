"""Parse a search space in Hydra's sweep grammar, from YAML and from the command line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
)

from tuner.config.override_text import text_of
from tuner.errors import ConfigError, Mistake
from tuner.space.distributions import Categorical, Distribution, Scalar
from tuner.space.sweeps import categorical, interval, steps
from tuner.space.tree import Branch, Parameter, Space


def build(
    written: Mapping[str, object],
    overrides: Sequence[Override],
    parse: Callable[[str], Override],
    options: Callable[[str], Sequence[str]] = lambda _group: (),
) -> tuple[Space, list[Mistake]]:
    """Return the space of a configuration under the command line's overrides, and all errors in it.

    ``options`` lists the options of a config group, for ``glob(*)``. A sweep override replaces a
    key's distribution in all branches, or adds the key. A plain override pins the key, which
    removes it from the space; of a mapping, only the chosen branch remains.
    """
    reader = _Reader(parse, options)
    root = reader.branch(written, (), "space")
    for override in overrides:
        if not override.is_sweep_override():
            root = reader.pinned(root, override.key_or_group, reader.element(override))
    for override in overrides:
        if override.is_sweep_override():
            try:
                root = reader.swept(root, reader.parameter(override))
            except ConfigError as error:
                reader.mistakes.extend(m.at(override.key_or_group) for m in error.mistakes)
    reader.check_unique(root)
    return Space(root), reader.mistakes


class _Reader:
    def __init__(
        self, parse: Callable[[str], Override], options: Callable[[str], Sequence[str]]
    ) -> None:
        self.parse = parse
        self.options = options
        self.mistakes: list[Mistake] = []

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
                self.mistakes.extend(m.at(f"{where}.{key}") for m in error.mistakes)
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
            # Text may come from the environment, as a password does.
            plain = all(isinstance(item, int | float) for item in value)
            items = ", ".join(map(str, value)) if plain else "…"
            raise ConfigError("a list cannot be searched", hint=f"write choice({items})")
        override = self.parse(f"{key}={_plain(value)}")
        if override.is_sweep_override():
            parameters.append(self.parameter(override, condition))
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
            raise ConfigError("this mapping has no options", hint="list them, as in sgd: {…}")
        values = list(map(self.option, options))
        texts = tuple(map(text_of, values))
        override = self.parse(f"{key}={texts[0]}")
        branches: dict[str, Branch] = {}
        bare = override.key_or_group
        for text, (option, below) in zip(texts, options.items(), strict=True):
            if below is not None and not isinstance(below, Mapping):
                raise ConfigError(
                    f"option {option} must have a mapping of keys, got {below!r}",
                    hint="{} if nothing depends on it",
                )
            branches[text] = self.branch(
                below or {}, (*condition, (bare, text)), f"{where}.{option}"
            )
        distribution = categorical(tuple(map(_stored, values, texts)), texts)
        return Parameter(bare, distribution, condition, branches, _sign(override))

    def option(self, name: object) -> object:
        """Return the value that a key of a mapping stands for; its text is that of the option.

        The value has the type of the YAML key. Null, lists and mappings, which OmegaConf does not
        accept as keys, are parsed from their text (``"null":``), and so are strings that contain
        quotes.
        """
        if not isinstance(name, str):
            return name
        try:
            override = self.parse(f"x={name}")
        except ConfigError:
            return name
        if override.is_sweep_override():
            return name
        value = override.value()
        own = value is None or isinstance(value, list | dict)
        return value if own or isinstance(override._value, QuotedString) else name

    def parameter(
        self, override: Override, condition: tuple[tuple[str, str], ...] = ()
    ) -> Parameter:
        """Return the parameter that a sweep override describes.

        Raises:
            ConfigError: The sweep is invalid.
        """
        distribution = self.distribution(override)
        return Parameter(override.key_or_group, distribution, condition, sign=_sign(override))

    def element(self, override: Override) -> str:
        """Return the value's text as Hydra writes it."""
        if override.is_delete():
            return ""
        return text_of(override.value())

    def distribution(self, override: Override) -> Distribution:
        """Return the distribution that a sweep override describes.

        Raises:
            ConfigError: The sweep is invalid.
        """
        sweep = override._value
        tags = set(getattr(sweep, "tags", ()))
        if unknown := tags - {"log"}:
            raise ConfigError(f"unknown tag {sorted(unknown)[0]!r}", hint="the only tag is log")
        log = "log" in tags
        if isinstance(sweep, IntervalSweep):
            return interval(sweep, log)
        if log:
            raise ConfigError("only an interval can be tagged log", hint="tag(log, interval(a, b))")
        if isinstance(sweep, RangeSweep):
            return steps(sweep)
        if isinstance(sweep, Glob):
            found = sweep.filter(list(self.options(override.key_or_group)))
            return categorical(tuple(found), tuple(found))
        assert isinstance(sweep, ChoiceSweep)
        elements = override.sweep_iterator(Transformer.identity)
        values = [Override._convert_value(element) for element in elements]
        texts = tuple(map(text_of, values))
        return categorical(tuple(map(_stored, values, texts)), texts)

    def swept(self, root: Branch, new: Parameter) -> Branch:
        if not any(p.key == new.key for p in Space(root).parameters()):
            return replace(root, parameters=(*root.parameters, new))
        return _mapped(root, lambda p: _resweep(p, new) if p.key == new.key else p)

    def pinned(self, root: Branch, key: str, text: str) -> Branch:
        """Return ``root`` without the parameter; a mapping's chosen branch replaces it."""
        parameters: list[Parameter] = []
        constants = [c for c in root.constants if c.partition("=")[0].lstrip("+") != key]
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
            Mistake(f"space.{name}", f"is searched {count} times", "list each key once")
            for name, count in seen.items()
            if count > 1
        )
        always = {p.key for p in root.parameters}
        self.mistakes.extend(
            Mistake(
                f"space.{p.key}",
                f"is searched both unconditionally and for {'='.join(p.condition[-1])}",
                "keep one of the two",
            )
            for p in Space(root).parameters()
            if p not in root.parameters and p.key in always
        )


def _resweep(p: Parameter, new: Parameter) -> Parameter:
    texts = new.distribution.texts if isinstance(new.distribution, Categorical) else ()
    kept = {text: branch for text, branch in p.branches.items() if text in texts}
    return replace(p, distribution=new.distribution, branches=kept, sign=new.sign)


def _mapped(branch: Branch, change: Callable[[Parameter], Parameter]) -> Branch:
    def one(p: Parameter) -> Parameter:
        below = {text: _mapped(b, change) for text, b in p.branches.items()}
        return change(replace(p, branches=below))

    return replace(branch, parameters=tuple(one(p) for p in branch.parameters))


def _stored(value: object, text: str) -> Scalar:
    return value if value is None or isinstance(value, bool | int | float | str) else text


def _sign(override: Override) -> str:
    """Return ``+`` for a key that is added to the configuration, ``++`` for one that may exist."""
    return "+" if override.is_add() else "++" if override.is_force_add() else ""


def _plain(value: object) -> str:
    """Return a YAML scalar as override text."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
