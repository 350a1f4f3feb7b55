"""A finished search without a value is explained; one that may still get a value is not."""

from pathlib import Path

import pytest
from optuna import Study
from optuna.trial import TrialState

from tests.samples import C, F, P, add, new_study
from tuner.report.analysis import no_result
from tuner.report.configurations import Row
from tuner.report.summary import summarise


def told(study: Study) -> list[str]:
    def command(row: Row) -> str:
        return f"tuner train {' '.join(row.stored)}" if row.stored else ""

    return str(no_result.explain(summarise(study), command) or "").splitlines()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Five that failed, diverged or did not fit."""
    made = new_study(tmp_path)
    add(made, P, [], reason="too large", reason_kind="out_of_memory", overrides=["a=0"])
    for number in (1, 2):
        reason = {"reason": f"in epoch {number}: loss nan", "reason_kind": "diverged"}
        add(made, P, [0.1], overrides=["a=1"], **reason)
    add(made, F, [], reason="ValueError: no file data/1.csv\nmore", overrides=["a=3"])
    add(made, F, [], reason="ValueError: no file data/2.csv\nmore")
    return made


def test_causes_come_by_frequency_each_with_an_example_and_a_cure(study: Study) -> None:
    add(study, F, [], reason="ValueError: no file data/3.csv\nmore")
    head, *lines = told(study)
    begin, _, hint = head.partition("; hint: ")
    assert begin == "no configuration of study 'digits' has a value (3 infeasible, 3 failed)"
    assert lines == [
        "  3 of 6: ValueError: no file data/1.csv more, such as #3; hint: run the command below"
        " to see the traceback",
        "      tuner train a=3",
        "  2 of 6: in epoch 1: loss nan, such as #1; hint: smaller learning rates in the space",
        "      tuner train a=1",
        "  1 of 6: too large, such as #0; hint: smaller batches or networks in the space, or fewer"
        " workers on a device",
        "      tuner train a=0",
    ]
    assert "another study.name" in hint


def test_many_causes_are_counted(study: Study) -> None:
    for letter in "uvwxyz":
        add(study, F, [], reason=f"KeyError: '{letter}'")
    lines = told(study)
    assert sum(" of 11: " in line for line in lines) == no_result.SHOWN + 1
    assert "  4 of 11: rarer causes" in lines


def test_a_reason_may_bring_its_own_cure(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    own = {"reason_kind": "infeasible", "reason_hint": "padding=same, depth=2"}
    add(study, P, [], reason="nothing is left of 2x2 pixels", **own)
    add(study, P, [], reason="the GPU is too small")
    assert told(study)[1:3] == [
        "  1 of 2: nothing is left of 2x2 pixels, such as #0; hint: padding=same, depth=2",
        "  1 of 2: the GPU is too small, such as #1; hint: values that can be trained",
    ]


def test_pruning_all_is_a_cause_too(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    add(study, P, [0.1])
    assert "  1 of 1: stopped by the pruner, such as #0; hint: pruner=none" in (told(study)[1])


@pytest.mark.parametrize("state", [C, TrialState.RUNNING, TrialState.WAITING])
def test_with_a_value_or_while_one_may_come_there_is_nothing_to_tell(
    study: Study, state: TrialState
) -> None:
    add(study, state, [0.5])
    assert told(study) == []


def test_a_study_without_a_configuration_has_not_been_in_vain(tmp_path: Path) -> None:
    assert told(new_study(tmp_path)) == []
