"""The false-pruning rate and its interval, in text and in JSON."""

import io
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from tests.samples import START, add, new_study
from tuner.algorithms.pruners.audit import AUDIT
from tuner.report import markdown
from tuner.report.analysis import pruning_errors
from tuner.report.html import sections
from tuner.report.summary import Summary, summarise
from tuner.report.terminal import status
from tuner.study.budget import Budget
from tuner.study.fidelity import LENGTH

C, P, R = TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING
NOW = START + timedelta(seconds=400)


def spared(study: optuna.Study, curve: Sequence[float], state: TrialState = C, **attrs: object):
    """Add a trial that was condemned at its first epoch and audited."""
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


def test_a_wrong_kill_beats_every_survivor(audited: Summary) -> None:
    found = pruning_errors.audit(audited)
    assert found == pruning_errors.Audit(condemned=11, audited=4, wrong=1)
    assert found.rate == 0.25
    assert found.interval == pytest.approx((0.0063, 0.8059), abs=1e-4)
    assert str(found) == "false-pruning rate: 25% (95 % interval 1% to 81%; 1 of 4 audited)"
    assert audited.best is not None
    assert abs(audited.best.value or 0) in (0.9, 0.5), "the search keeps what the audit finds"


def test_everybody_is_told(audited: Summary) -> None:
    told = json.loads(status.as_json(audited, Budget(n_trials=40), None))["pruning"]
    assert (told["condemned"], told["audited"], told["wrong"], told["rate"]) == (11, 4, 1, 0.25)
    console = Console(file=io.StringIO(), width=120)
    console.print(status.as_picture(audited, Budget(n_trials=40), None, width=120))
    assert "pruning: false-pruning rate: 25%" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "A random sample" in sections.pruning(audited)
    assert "<b>25%</b>" in sections.pruning(audited)
    assert "False-pruning rate: 25%" in markdown._pruning(audited)
    line = pruning_errors.line(audited) or ""
    assert line.startswith("6 pruned, 27% of epochs saved; false-pruning rate: 25% ")


def test_without_an_audit_nothing_is_claimed(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    assert pruning_errors.audit(summarise(study, now=NOW)) is None
    add(study, C, [0.5, 0.6])
    assert pruning_errors.line(summarise(study, now=NOW)) is None
    add(study, P, [0.1])
    found = pruning_errors.audit(summarise(study, now=NOW))
    assert str(found) == "false-pruning rate: unknown, no audit of 1 trials has ended"
    assert found is not None
    assert found.interval == (0.0, 1.0)
    assert "is unknown" in sections.pruning(summarise(study, now=NOW))


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
