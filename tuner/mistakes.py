"""A configuration error as a value, which becomes text only where it is shown."""

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Mistake:
    """An error in one key of the configuration, and a hint."""

    key: str
    """The key, such as ``model.width``; empty if none is at fault."""
    problem: str
    """The error: what was expected, and what was given."""
    hint: str = ""
    when: tuple[str, ...] = ()
    """Options with which it is an error, such as ``optimizer=sgd``; empty if always."""

    @property
    def section(self) -> str:
        """The first part of the key."""
        return section(self.key)

    def at(self, key: str) -> "Mistake":
        """Return the same error of another key."""
        return replace(self, key=key)

    def within(self, place: object) -> "Mistake":
        """Return the same error, located in a file or another place that the problem then names."""
        return replace(self, problem=f"{place}: {self.problem}")

    def __str__(self) -> str:
        """Return one line that ends in the hint, then further lines of the problem."""
        key = f"{self.key}: " if self.key else ""
        first, *below = self.problem.split("\n")
        when = f" (when {', '.join(self.when)})" if self.when else ""
        return "\n".join([f"{key}{first}{when}{hinted(self.hint)}", *below])


def hinted(hint: str) -> str:
    """Return the end of a message with this hint; empty without one."""
    return f"; hint: {hint}" if hint else ""


def section(key: str) -> str:
    """Return the first part of a key or override, as ``model`` of ``+model.width=8``."""
    return re.split(r"[^\w-]", key.lstrip("+~"), maxsplit=1)[0]
