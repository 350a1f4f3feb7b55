"""Why a trial ended without a value, by its stored kind or, without one, by what Optuna stores."""

import pytest
from optuna.trial import create_trial

from tests.samples import C, F, P, R
from tuner.storage.reason_kind import Kind
from tuner.study import attempts
from tuner.study.attempts import Reason


@pytest.mark.parametrize(
    ("state", "attrs", "kind", "word"),
    [
        (P, {"reason_kind": "pruned", "reason": "by the objective"}, Kind.PRUNED, "pruned"),
        (P, {"reason_kind": "diverged"}, Kind.DIVERGED, "infeasible"),
        (F, {"reason_kind": "lost", "reason": "lost 2 times"}, Kind.LOST, "failed"),
        (P, {}, Kind.PRUNED, "pruned"),
        (P, {"reason": "of an older study"}, Kind.INFEASIBLE, "infeasible"),
        (F, {}, Kind.ERROR, "failed"),
        (R, {"reason_kind": "error", "reason": "of the attempt before"}, None, "running"),
        (C, {"reason_kind": "error"}, None, "complete"),
    ],
)
def test_why_a_trial_ended(state, attrs, kind, word):
    value = 0.5 if state == C else None
    trial = create_trial(state=state, value=value, user_attrs=attrs)
    assert attempts.kind(trial) == kind
    assert attempts.word(state, attempts.kind(trial)) == word


@pytest.mark.parametrize("kind", Kind)
def test_a_reason_is_read_as_it_was_stored(kind):
    trial = create_trial(state=kind.state, user_attrs=Reason(kind, "because").to_attrs())
    assert attempts.kind(trial) is kind
