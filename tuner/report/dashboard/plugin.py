"""Add content to optuna-dashboard's answers as they are generated.

It adds a note to every trial with the command that repeats it, columns with its metrics and facts,
and plots of the study. None of it is stored: notes are attributes of the study, and the dashboard
searches all of them for each trial (a minute of CPU time for the first page at 10,000 trials), and
stored plots would be outdated at once.
"""

import json
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import wraps
from typing import Any

from optuna import load_study
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from tuner.errors import RowRefused, hinted
from tuner.log import brief, sanitised
from tuner.report.commands import shared
from tuner.report.formatting import plain
from tuner.report.html import plots
from tuner.report.html.plots import Figure
from tuner.report.summary import summarise
from tuner.study import vetting
from tuner.study.attempts import HISTORY, REQUEUE, first_number, is_superseded
from tuner.study.plan import Plan

STUDY = "/api/studies/<study_id:int>"
FOLDED = ("metrics", "facts")
"""Attributes that contain several columns."""
ENDING = ("reason", "reason_kind", "reason_hint", "traceback")
"""Attributes that describe how a trial ended."""
HIDDEN = ("overrides", *ENDING)
"""Attributes that are shown in the note instead, because a table is as high as its longest cell."""
BRIEF = 80
"""Maximum number of characters of a reason in the table."""
PLOTS_EVERY = 10.0
"""Seconds for which a study's plots are cached; the pages poll as often."""


class Content:
    """A Bottle plugin for the dashboard's application."""

    name = "tuner"
    api = 2

    def __init__(self, storage: BaseStorage, plan: Plan | None = None) -> None:
        """Initialise the plugin.

        Args:
            storage: The storage that the dashboard serves.
            plan: The plan of the serving command, used to repeat trials of its own study only.
        """
        self.storage = storage
        self.plan = plan
        self.columns: dict[int, dict[str, bool]] = {}
        """Study id → names of all columns so far, and whether they are numeric."""
        self.plotted: dict[int, tuple[float, list[dict[str, str]]]] = {}

    def apply(self, callback: Callable[..., Any], route: Any) -> Callable[..., Any]:
        if route.rule != STUDY or route.method != "GET":
            return callback

        @wraps(callback)
        def view(study_id: int, **rest: Any) -> Any:
            answer = callback(study_id=study_id, **rest)
            if isinstance(answer, dict) and "trials" in answer:
                self._enrich(study_id, answer)
            return answer

        return view

    def _enrich(self, study_id: int, study: dict[str, Any]) -> None:
        columns = self.columns.setdefault(study_id, {})
        plan = self.plan
        if plan is not None and plan.study.name != self.storage.get_study_name_from_id(study_id):
            plan = None
        for trial in [*study["trials"], *study["best_trials"]]:
            stored = self.storage.get_trial(trial["trial_id"])
            attrs = _attrs(stored)
            found = _columns(attrs, stored.duration)
            if attempt := _attempt(stored):
                found = {"configuration": first_number(stored), **found}
            enrich_trial(trial, attrs, found, _command(plan, stored), attempt)
            columns.update((key, not isinstance(value, str)) for key, value in found.items())
        folded = {*FOLDED, *HIDDEN, *columns}
        kept = [column for column in study["union_user_attrs"] if column["key"] not in folded]
        more = [{"key": key, "sortable": number} for key, number in columns.items()]
        study["union_user_attrs"] = kept + more
        study["plotly_graph_objects"] = [*study["plotly_graph_objects"], *self._plots(study_id)]

    def _plots(self, study_id: int) -> list[dict[str, str]]:
        made, plotted = self.plotted.get(study_id, (-PLOTS_EVERY, []))
        if time.monotonic() - made < PLOTS_EVERY:
            return plotted
        name = self.storage.get_study_name_from_id(study_id)
        summary = summarise(load_study(study_name=name, storage=self.storage))
        drawn = {"Learning curves by state": plots.curves(summary)}
        plotted = [
            {"id": title.replace(" ", "-"), "graph_object": _titled(shape, title)}
            for title, shape in drawn.items()
            if not isinstance(shape, str)
        ]
        self.plotted[study_id] = time.monotonic(), plotted
        return plotted


def enrich_trial(
    trial: dict[str, Any],
    attrs: Mapping[str, Any],
    columns: Mapping[str, float | str],
    command: Sequence[str] = (),
    attempt: str = "",
) -> None:
    """Replace folded attributes with their columns, and add the note unless a user wrote one."""
    folded = {*FOLDED, *HIDDEN, *columns}
    kept = [item for item in trial["user_attrs"] if item["key"] not in folded]
    trial["user_attrs"] = kept + [
        {"key": key, "value": f"{value:.6g}" if isinstance(value, float) else str(value)}
        for key, value in columns.items()
    ]
    if not trial["note"]["body"]:
        trial["note"] = {**trial["note"], "body": attempt + note(attrs, command)}


def _attrs(stored: FrozenTrial) -> dict[str, Any]:
    """Return a trial's attributes, without those of an earlier failure that a retry inherited."""
    trouble = stored.state in {TrialState.PRUNED, TrialState.FAIL}
    gone = () if trouble else ENDING
    return {key: value for key, value in stored.user_attrs.items() if key not in gone}


def _attempt(stored: FrozenTrial) -> str:
    """Return text that names the configuration of an interrupted trial or a retry, else ""."""
    place = len(stored.system_attrs.get(HISTORY, ())) + 1
    which = f"Attempt {place} at configuration #{first_number(stored)}"
    if is_superseded(stored):
        reason = sanitised(stored.system_attrs[REQUEUE]["reason"])
        return f"{which}, interrupted ({reason}); the next attempt resumes it.\n\n"
    return f"{which}.\n\n" if place > 1 else ""


def _columns(attrs: Mapping[str, Any], duration: timedelta | None) -> dict[str, float | str]:
    """Return the columns from a trial's attributes, and its duration in seconds."""
    found: dict[str, float | str] = {}
    for name in FOLDED:
        found.update(attrs.get(name) or {})
    if duration is not None:
        found["seconds"] = round(duration.total_seconds(), 2)
    if reason := attrs.get("reason"):
        found["reason"] = brief(sanitised(reason), BRIEF)
    return found


def _titled(shape: Figure, title: str) -> str:
    """Return the figure as JSON, with a title, which the dashboard's plot cards lack."""
    layout = {**shape["layout"], "title": {"text": title}, "height": 450}
    layout["margin"] = {**layout["margin"], "t": 90}
    return json.dumps({**shape, "layout": layout})


def _command(plan: Plan | None, stored: FrozenTrial) -> list[str]:
    """Return the arguments of ``tuner train`` that repeat a trial; empty if none are known."""
    words = stored.user_attrs.get("overrides")
    if plan is None or not words:
        return []
    try:
        own = vetting.overrides(plan, first_number(stored), stored.params, words)
    except RowRefused:
        return []
    return [*shared(plan.source.argv()), *own]


def note(attrs: Mapping[str, Any], command: Sequence[str] = ()) -> str:
    """Return a note in Markdown: the command that repeats a trial, and its failure.

    If ``command`` is empty, the trial's overrides are listed as stored.
    """
    repeat = " \\\n  ".join(["tuner train", *map(shlex.quote, command)])
    stored = "\n".join(plain(item) for item in attrs.get("overrides") or ())
    parts = [
        ("sh", repeat) if command else ("text", stored),
        ("text", sanitised(attrs.get("reason", "") + hinted(attrs.get("reason_hint", "")))),
        ("python", sanitised(attrs.get("traceback") or "")),
    ]
    return "\n".join(_fenced(text, kind) for kind, text in parts if text)


def _fenced(text: str, kind: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{text.rstrip()}\n{fence}\n"
