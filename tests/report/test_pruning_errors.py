"""The false-pruning rate and its interval, in text and in JSON."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from tests.samples import START, add, new_study
from tuner.algorithms.pruners import audit
from tuner.algorithms.pruners.audit import AUDIT
from tuner.report.analysis import pruning_errors
from tuner.report.formatting import percent
from tuner.report.html.page import page
from tuner.report.markdown import markdown
from tuner.report.summary import Summary, summarise
from tuner.report.terminal import status
from tuner.study.budget import Budget
from tuner.study.fidelity import LENGTH

C, P, R = TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING
NOW = START + timedelta(seconds=400)


def spared(study: optuna.Study, curve: Sequence[float], state: TrialState = C, **attrs: object):
    """Add a trial that was rejected at its first epoch and audited."""
    value = curve[-1] if state == C else None
    study.add_trial(
        optuna.create_trial(
            state=state,
            value=value,
            intermediate_values=dict(enumerate(curve, start=1)),
            system_attrs={AUDIT: 1},
            user_attrs=attrs,
        )
    )


def add_of_length(study: optuna.Study, state: TrialState, curve: Sequence[float], length: int):
    """Add a trial with a schedule of its own."""
    study.add_trial(
        optuna.create_trial(
            state=state,
            value=curve[-1],
            intermediate_values=dict(enumerate(curve, start=1)),
            system_attrs={LENGTH: length},
        )
    )


@pytest.fixture(params=["maximize", "minimize"])
def audited(tmp_path: Path, request: pytest.FixtureRequest) -> Summary:
    """A survivor of 0.8, 6 pruned; of 5 audited 1 won, 1 equalled it, 1 lost, 1 broke, 1 runs."""
    study = new_study(tmp_path, direction=request.param)
    sign = 1 if request.param == "maximize" else -1
    add(study, C, [sign * 0.7, sign * 0.8])
    for _ in range(6):
        add(study, P, [sign * 0.1])
    for curve in ([0.1, 0.9], [0.1, 0.8], [0.1, 0.5]):
        spared(study, [sign * value for value in curve])
    spared(study, [sign * 0.1], P, reason="diverged: loss is nan")
    spared(study, [sign * 0.1], R)
    return summarise(study, now=NOW)


def test_a_false_pruning_beats_every_survivor(audited: Summary) -> None:
    found = pruning_errors.pruning(audited)
    assert found is not None
    assert (found.pruned_or_audited, found.audited, found.false_prunings, found.completed) == (
        11,
        4,
        1,
        4,
    )
    assert found.rate is not None
    low, high = found.interval
    assert 1 / 11 <= low <= found.rate <= high <= 8 / 11, "one did; three did not"
    assert audited.best is not None
    assert abs(audited.best.value or 0) in (0.9, 0.5), "the search keeps what the audit finds"
    assert pruning_errors.pruning(audited) == found, "the draws are the same"


def test_everybody_is_told(audited: Summary) -> None:
    told = json.loads(status.as_json(audited, Budget(n_trials=40), None))["pruning"]
    found = pruning_errors.pruning(audited)
    assert found is not None
    assert told == {**asdict(found), "interval": list(found.interval)}
    text = str(found)
    assert text.startswith(f"false-pruning rate: {percent(found.rate)} of 11 (95 % interval ")
    assert text.endswith("; from the ranks of 4 completed ones, 1 of 4 audited)")
    console = Console(file=io.StringIO(), width=160)
    console.print(status.as_picture(audited, Budget(n_trials=40), None, width=160))
    assert f"pruning: {text}" in console.file.getvalue()  # type: ignore[attr-defined]
    study = optuna.create_study()  # which is asked for importances alone, of more trials than these
    html = page(study, audited, {})
    assert "A random sample" in html
    assert f"<b>{percent(found.rate)}</b>" in html
    assert f"False-pruning rate: {percent(found.rate)}" in markdown(study, audited, {})
    line = pruning_errors.line(audited) or ""
    assert line == f"6 pruned, 27% of epochs saved; {text}"


def test_what_the_rate_needs_is_told(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    assert pruning_errors.pruning(summarise(study, now=NOW)) is None
    add(study, C, [0.5, 0.6])
    assert pruning_errors.line(summarise(study, now=NOW)) is None
    add(study, P, [0.1])
    found = pruning_errors.pruning(summarise(study, now=NOW))
    assert found is not None
    assert (found.rate, found.interval) == (None, (0.0, 1.0))
    needs = "unknown before 3 configurations with curves are completed, 1 so far"
    assert str(found) == f"false-pruning rate: {needs}"
    assert f"<p>False-pruning rate: {needs}.</p>" in page(study, summarise(study, now=NOW), {})


def test_a_large_audit_needs_no_model(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, C, [0.7, 0.8])
    for _ in range(49):
        spared(study, [0.1, 0.5])
    spared(study, [0.1, 0.9])
    found = pruning_errors.pruning(summarise(study, now=NOW))
    assert found is not None
    assert (found.rate, found.interval) == (0.02, audit.interval(1, 50))
    assert str(found).endswith("(95 % interval 0% to 11%; 1 of 50 audited)")


def test_trials_are_compared_at_the_fraction_of_their_own_schedules(tmp_path: Path) -> None:
    """Ranks agree at a fifth of the schedules, and disagree at equal epochs."""
    study = new_study(tmp_path)
    for level in range(8):
        length = 5 if level % 2 else 50
        curve = [level * step / length for step in range(1, length + 1)]
        add_of_length(study, C, curve, length)
    for _ in range(8):
        add_of_length(study, P, [-1.0 * step / 50 for step in range(1, 11)], 50)
    found = pruning_errors.pruning(summarise(study, now=NOW))
    assert found is not None
    assert found.rate is not None
    assert found.rate < 0.02


def test_without_a_curve_or_a_survivor_with_one_nothing_is_known(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for _ in range(3):
        add(study, C, [0.5])
    study.add_trial(optuna.create_trial(state=P, value=0.1))
    found = pruning_errors.pruning(summarise(study, now=NOW))
    assert found is None or found.rate is None


def test_what_is_saved_counts_on_each_ones_own_schedule(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, C, [0.5] * 10)
    for length in (5, 30):
        study.add_trial(
            optuna.create_trial(
                state=P, value=0.1, intermediate_values={1: 0.1}, system_attrs={LENGTH: length}
            )
        )
    assert summarise(study, now=NOW).epochs_saved == 4 + 29


def test_an_interval_that_says_nothing_is_not_shown():
    found = pruning_errors.Pruning(1, 0, 0, 4, 0.08, (0.0, 1.0))
    told = "false-pruning rate: unknown, 1 pruned and 4 completed configurations are too few"
    assert str(found) == told
    assert "95 % interval 0% to 80%" in str(replace(found, interval=(0.0, 0.8)))
