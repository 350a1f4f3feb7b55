"""A mistake in what was asked for, as a value: text is made of it only where it is shown."""

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Mistake:
    """What is wrong with one key of the configuration, and the cure."""

    key: str
    """The key, such as ``model.width``; empty if none is to blame."""
    problem: str
    """What is wrong: what was expected, and what was got."""
    hint: str = ""
    when: tuple[str, ...] = ()
    """Options under which alone it is wrong, such as ``optimizer=sgd``."""

    @property
    def section(self) -> str:
        """The first part of the key."""
        return section(self.key)

    def at(self, key: str) -> "Mistake":
        """The same mistake, of another key."""
        return replace(self, key=key)

    def within(self, place: object) -> "Mistake":
        """The same mistake, in a file or another place that the problem then names."""
        return replace(self, problem=f"{place}: {self.problem}")

    def __str__(self) -> str:
        """One line with the hint at its end, then what else the problem has in lines below."""
        key = f"{self.key}: " if self.key else ""
        first, *below = self.problem.split("\n")
        when = f" (when {', '.join(self.when)})" if self.when else ""
        return "\n".join([f"{key}{first}{when}{hinted(self.hint)}", *below])


def hinted(hint: str) -> str:
    """How a message ends that has a hint; nothing without one."""
    return f"; hint: {hint}" if hint else ""


def section(key: str) -> str:
    """The first part of a key or override: ``model`` of ``+model.width=8`` and ``model/cnn``."""
    return re.split(r"[^\w-]", key.lstrip("+~"), maxsplit=1)[0]
