"""What each parameter did: importances and slices, as plotly.js figures."""

import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna import Study
from optuna.distributions import CategoricalDistribution

from tuner.report.plots import COLOURS, Figure, figure, label, robust_range, text
from tuner.report.summary import Row, Summary
from tuner.report.wording import finite, word

ENOUGH = 10  # completed configurations; below, PED-ANOVA's top tenth is not even one of them


def importances(study: Study, summary: Summary) -> Figure | str:
    """Share of each parameter in reaching the top tenth (PED-ANOVA, Optuna's default).

    A note instead when too few are complete or no parameter varies.
    """
    done = [row for row in summary.ranking if finite(row.value)]
    if len(done) < ENOUGH:
        return f"Importances need {ENOUGH} completed configurations; there are {len(done)}."
    if len({row.value for row in done}) == 1:
        return "All completed configurations have the same value: nothing to explain."
    varied = [name for name in summary.space if len(_values(done, name)) > 1]
    if not varied:
        return "No parameter took more than one value."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its advice is for callers who chose the evaluator
            shares = optuna.importance.get_param_importances(
                study, params=varied, target=lambda trial: summary.loss(trial.values[0])
            )
    except (ValueError, RuntimeError, ArithmeticError) as error:
        return f"Importances cannot be computed for this study: {error}"
    names = [name for name in reversed(shares) if finite(shares[name])]
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": [text(name) for name in names],
        "x": [shares[name] for name in names],
        "texttemplate": "%{x:.0%}",
        "textangle": 0,
        "cliponaxis": False,
        "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
        "marker": {"color": COLOURS["complete"]},
    }
    shape = figure([bars], x="share of importance", y="", height=90 + 28 * len(names))
    shape["layout"]["xaxis"]["tickformat"] = ".0%"
    return shape


def slices(summary: Summary) -> Mapping[str, Figure]:
    """Value against each parameter that varies, by the parameter's name."""
    rows = [row for row in summary.rows if finite(row.value) and row.reason is None]
    varied = [name for name in summary.space if len(_values(rows, name)) > 1]
    return {name: _slice(name, rows, summary) for name in varied}


def _slice(name: str, rows: Sequence[Row], summary: Summary) -> Figure:
    kind = summary.space[name]
    rows = [row for row in rows if name in row.params]
    nominal = isinstance(kind, CategoricalDistribution)
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [text(word(row.params[name])) if nominal else row.params[name] for row in group],
            "y": [row.value for row in group],
            "text": [label(row) for row in group],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"color": COLOURS[fate], "size": 7, "symbol": symbol},
        }
        for fate, symbol in (("pruned", "circle-open"), ("complete", "circle"))
        if (group := [row for row in rows if row.state == fate])
    ]
    values = [row.value for row in rows if row.value is not None]
    shape = figure(traces, x=name, y="", y_range=robust_range(values), height=240, showlegend=False)
    log = getattr(kind, "log", False)
    axis = shape["layout"]["xaxis"]
    axis.update(type="category" if nominal else "log" if log else "linear", nticks=5, tickangle=0)
    if isinstance(kind, CategoricalDistribution):
        axis.update(categoryorder="array", categoryarray=[text(word(c)) for c in kind.choices])
    return shape


def _values(rows: Sequence[Row], name: str) -> set[str]:
    return {word(row.params[name]) for row in rows if name in row.params}
