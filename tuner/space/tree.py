"""The search space: the searched parameters as a tree of conditions.

The key of a parameter is its override path. A mapping in the space is a categorical parameter whose
options have their own parameters. These are stored with one name per branch (``optimizer.lr@sgd``),
so that the sampler never mixes two meanings of one key. Overrides contain only the key.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tuner.space.distributions import Categorical, Distribution, Scalar, Suggester


@dataclass(frozen=True)
class Branch:
    """Parameters that are searched together, and constants that are set with them."""

    parameters: tuple["Parameter", ...] = ()
    constants: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Parameter:
    """A searched key, and the conditions (key, option) that make it active."""

    key: str
    distribution: Distribution
    condition: tuple[tuple[str, str], ...] = ()
    branches: Mapping[str, Branch] = field(default_factory=dict)
    """Override text of an option → the branch that is searched only if the option is chosen."""
    sign: str = ""
    """``+`` or ``++`` before the key in overrides, if Hydra requires it."""

    def override(self, text: str) -> str:
        """Return the override that sets the parameter to a value's text."""
        return f"{self.sign}{self.key}={text}"

    @property
    def name(self) -> str:
        """The name in the study: the key, and the options on which the parameter depends."""
        return "@".join([self.key, *(option for _, option in self.condition)])


@dataclass(frozen=True)
class Space:
    """The whole search space; ``root`` holds the parameters that are always active."""

    root: Branch = Branch()

    def suggest(self, trial: Suggester) -> list[str]:
        """Let the trial's sampler choose every active parameter; return the overrides."""
        return self._walk(lambda p: p.distribution.suggest(trial, p.name))

    def overrides(self, params: Mapping[str, Scalar]) -> list[str]:
        """Return the overrides of stored parameters (by study name).

        Raises:
            KeyError: A parameter is missing.
        """
        return self._walk(lambda p: params[p.name])

    def parameters(self) -> Iterator[Parameter]:
        """Return all parameters of all branches, parents before children."""
        todo = list(self.root.parameters)
        while todo:
            parameter = todo.pop(0)
            yield parameter
            todo[:0] = [p for b in parameter.branches.values() for p in b.parameters]

    def rows(self) -> list[dict[str, str]]:
        """Return the space as a table: name, key, distribution, condition."""
        return [
            {
                "name": p.name,
                "key": p.key,
                "distribution": str(p.distribution),
                "condition": ", ".join(f"{key}={option}" for key, option in p.condition),
            }
            for p in self.parameters()
        ]

    def contexts(self) -> list[list[str]]:
        """Return selections of options that together activate every parameter at least once."""
        found = [self._selection({})]
        for p in self.parameters():
            if isinstance(p.distribution, Categorical):
                for text in p.distribution.texts:
                    wanted = dict(p.condition) | {p.key: text}
                    if (selection := self._selection(wanted)) not in found:
                        found.append(selection)
        return found

    def edges(self, options: Mapping[str, str], *, every: bool) -> Iterator[list[str]]:
        """Return overrides for the corners of the space: all ranges at their low, then high ends.

        The options in ``options`` (key → override text) are kept. Of the other categoricals, every
        first option is taken, then every second one and so on; if ``every`` is false, only the
        first ones.
        """

        def option(p: Parameter, turn: int, end: int) -> Scalar:
            samples = p.distribution.samples()
            if not isinstance(p.distribution, Categorical):
                return samples[end]
            texts = p.distribution.texts
            kept = options.get(p.key)
            return samples[texts.index(kept) if kept in texts else turn % len(samples)]

        free = [p for p in self.parameters() if p.key not in options]
        counts = [len(p.distribution.samples()) for p in free]
        for turn in range(max(counts, default=1) if every else 1):
            for end in (0, -1):
                yield self._walk(functools.partial(option, turn=turn, end=end))

    def active(self, selection: Sequence[str]) -> list[Parameter]:
        """Return the parameters that a selection of ``contexts`` activates."""
        found: list[Parameter] = []
        todo = [self.root]
        while todo:
            for p in todo.pop(0).parameters:
                found.append(p)
                todo.extend(b for text, b in p.branches.items() if p.override(text) in selection)
        return found

    def _selection(self, wanted: Mapping[str, str]) -> list[str]:
        def first(p: Parameter) -> Scalar:
            samples = p.distribution.samples()
            if isinstance(p.distribution, Categorical) and p.key in wanted:
                return samples[p.distribution.texts.index(wanted[p.key])]
            return samples[0]

        return self._walk(first)

    def _walk(self, choose: Callable[[Parameter], Scalar]) -> list[str]:
        texts: list[str] = []
        todo = [self.root]
        while todo:
            branch = todo.pop(0)
            texts.extend(branch.constants)
            for p in branch.parameters:
                text = p.distribution.text(choose(p))
                texts.append(p.override(text))
                if text in p.branches:
                    todo.append(p.branches[text])
        return texts


def compare(stored: Sequence[Mapping[str, str]], now: Sequence[Mapping[str, str]]) -> "Difference":
    """Return the changes between two tables of ``Space.rows``."""
    old, new = ({row["name"]: row for row in rows} for rows in (stored, now))
    breaking = [f"- {name}: {old[name]['distribution']}" for name in old if name not in new]
    breaking += [f"+ {name}: {new[name]['distribution']}" for name in new if name not in old]
    ranges: list[str] = []
    for name in old.keys() & new.keys():
        before, after = old[name]["distribution"], new[name]["distribution"]
        if before != after:
            same_kind = before.split()[:1] == after.split()[:1] != ["one"]
            line = f"~ {name}: {before} → {after}"
            (ranges if same_kind else breaking).append(line)
    return Difference(sorted(breaking), sorted(ranges))


@dataclass(frozen=True)
class Difference:
    """Changes that a study cannot accept, and changed numeric ranges, which it can."""

    breaking: list[str]
    ranges: list[str]
