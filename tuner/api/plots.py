"""Figures of a study: those of Optuna, drawn with Plotly."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial

from tuner.errors import TunerError
from tuner.study.study import Study as Record

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class Plot:
    """The figures of a study, as ``study.plot``; a notebook shows what a method returns.

    Args:
        record: The study in its database.

    Example:
        >>> figure = study.plot.history()
        >>> figure.layout.xaxis.title.text
        'Trial'
    """

    def __init__(self, record: Record) -> None:
        self._record = record

    def history(self) -> "Figure":
        """Return the value of each trial, and the best so far.

        Example:
            >>> study.plot.history().layout.yaxis.title.text
            'accuracy'
        """
        return self._drawn("optimization_history", **self._first())

    def curves(self) -> "Figure":
        """Return the learning curve of each trial.

        Example:
            >>> len(study.plot.curves().data)
            4
        """
        return self._drawn("intermediate_values")

    def importances(self) -> "Figure":
        """Return the importance of each parameter for the values.

        Raises:
            TunerError: Fewer than two trials are complete.

        Example:
            >>> study.plot.importances().data[0].y
            ('objective.lr',)
        """
        return self._drawn("param_importances", **self._first())

    def parallel(self) -> "Figure":
        """Return the parallel coordinates of the parameters and the value.

        Example:
            >>> study.plot.parallel().layout.title.text
            'Parallel Coordinate Plot'
        """
        return self._drawn("parallel_coordinate", **self._first())

    def slices(self) -> "Figure":
        """Return the value against each parameter.

        Example:
            >>> study.plot.slices().layout.title.text
            'Slice Plot'
        """
        return self._drawn("slice", **self._first())

    def contour(self) -> "Figure":
        """Return the value against each pair of parameters.

        Example:
            >>> study.plot.contour().layout.title.text
            'Contour Plot'
        """
        return self._drawn("contour", **self._first())

    def timeline(self) -> "Figure":
        """Return the start and end of each attempt at a trial.

        Example:
            >>> study.plot.timeline().layout.title.text
            'Timeline Plot'
        """
        return self._drawn("timeline")

    def pareto(self) -> "Figure":
        """Return the trials by two or three objectives, the Pareto-optimal ones highlighted.

        Raises:
            TunerError: The study has one objective, or more than three.

        Example:
            >>> study.plot.pareto()
            Traceback (most recent call last):
            tuner.errors.TunerError: no pareto_front plot: `plot_pareto_front` function only ...
        """
        return self._drawn("pareto_front")

    def _drawn(self, name: str, **options: object) -> "Figure":
        # Optuna imports Plotly, which takes a second.
        draw: Any = getattr(importlib.import_module("optuna.visualization"), f"plot_{name}")
        try:
            return draw(self._record.optuna, **options)
        except (ValueError, RuntimeError) as error:  # what Optuna cannot draw
            raise TunerError(f"no {name} plot: {error}") from error

    def _first(self) -> dict[str, object]:
        """Return the options that choose the first of several objectives."""
        if len(self._record.optuna.directions) == 1:
            return {"target_name": str(self._record.attrs.get("metric", "value"))}
        first: Callable[[FrozenTrial], float] = lambda trial: trial.values[0]  # noqa: E731
        return {"target": first, "target_name": next(iter(self._record.attrs["objectives"]))}
