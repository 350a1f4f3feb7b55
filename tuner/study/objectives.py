"""The objectives of a study: its metric, further objectives, and constraints."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tuner.config.settings import Direction, StudySettings
from tuner.errors import TunerError

Returned = float | tuple[float, ...] | None
"""The return value of an objective: the metric, every objective in order, or nothing."""


@dataclass(frozen=True)
class Aims:
    """Several objectives and constraints; the first objective is the metric, used for pruning.

    ``others`` are further objectives; no value named in ``limits`` may exceed its limit. All are
    reported by the objective, or noted about the run as a whole.
    """

    metric: str
    direction: Direction
    others: Mapping[str, Direction] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, asked: StudySettings) -> "Aims":
        return cls(asked.metric, asked.direction, asked.objectives or {}, asked.constraints or {})

    @property
    def objectives(self) -> dict[str, Direction]:
        """All objectives with their directions, the metric first."""
        rest = {name: way for name, way in self.others.items() if name != self.metric}
        return {self.metric: self.direction, **rest}

    def named(self, returned: Returned) -> dict[str, float]:
        """Return the return value of an objective as values by name.

        Raises:
            TunerError: The number of values is not that of the objectives.
        """
        if returned is None:
            return {}
        if not isinstance(returned, tuple):
            return {self.metric: returned}
        if len(returned) != len(self.objectives):
            known = ", ".join(self.objectives)
            raise TunerError(
                f"the objective returned {len(returned)} values, and the "
                f"study has {len(self.objectives)} (study.metric, then "
                f"study.objectives: {known})",
                hint="study.objectives={NAME: minimize, …} names the second and further values",
            )
        return dict(zip(self.objectives, returned, strict=True))

    def excess(self, measured: Mapping[str, float]) -> dict[str, float]:
        """Return by how much each known limit is exceeded; at most 0 if it holds."""
        return {n: measured[n] - limit for n, limit in self.limits.items() if n in measured}

    def broken(self, measured: Mapping[str, float]) -> str:
        """Return the violated constraints as a reason; empty if none is known to be violated."""
        found = [
            f"{name} {measured[name]:.6g}, at most {self.limits[name]:.6g}"
            for name, excess in self.excess(measured).items()
            if not excess <= 0  # NaN violates every limit
        ]
        return f"infeasible: {', '.join(found)}" if found else ""

    def missing(self, measured: Mapping[str, float]) -> list[str]:
        """Return the names of objectives and constraints that were not measured."""
        wanted = [*self.objectives, *self.limits]
        return [n for n in dict.fromkeys(wanted) if n not in measured and n != self.metric]


def front(points: Mapping[int, tuple[float, ...]]) -> list[int]:
    """Return the keys of the Pareto-optimal points: no other is at least as good in all parts.

    Smaller is better in every part; the result is ordered by the first part, then by key.
    """

    def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    kept = [k for k, p in points.items() if not any(beats(q, p) for q in points.values())]
    return sorted(kept, key=lambda k: (points[k], k))
