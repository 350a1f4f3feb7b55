"""Objectives, constraints and the Pareto front."""

import math

import pytest

from tuner.api import search_checks
from tuner.errors import TunerError
from tuner.study import plan
from tuner.study.objectives import Aims, front


def test_the_metric_comes_first_and_once():
    aims = Aims("accuracy", "maximize", {"parameters": "minimize", "accuracy": "maximize"})
    assert list(aims.objectives.items()) == [("accuracy", "maximize"), ("parameters", "minimize")]


def test_a_limit_holds_up_to_its_value():
    aims = Aims("accuracy", "maximize", limits={"parameters": 100.0, "latency_ms": 2.0})
    assert aims.excess({"parameters": 90.0}) == {"parameters": -10.0}
    assert aims.broken({"parameters": 100.0}) == ""
    assert aims.broken({"parameters": 101.0}) == "infeasible: parameters 101, at most 100"
    assert aims.broken({"latency_ms": math.nan}).startswith("infeasible: latency_ms nan")
    assert aims.missing({"parameters": 1.0}) == ["latency_ms"]


def test_what_is_returned_has_the_names_of_the_objectives_in_their_order():
    aims = Aims("accuracy", "maximize", {"parameters": "minimize"})
    assert aims.named(None) == {}
    assert aims.named(0.5) == {"accuracy": 0.5}
    assert aims.named((0.5, 9.0)) == {"accuracy": 0.5, "parameters": 9.0}
    assert Aims("accuracy", "maximize").named((0.5,)) == {"accuracy": 0.5}
    with pytest.raises(
        TunerError, match=r"returned 3 values, and the study has 2 .*hint: study\.obj"
    ):
        aims.named((0.5, 9.0, 1.0))


def test_the_front_is_what_none_is_better_than_in_all():
    points = {0: (0.1, 5.0), 1: (0.2, 3.0), 2: (0.2, 4.0), 3: (0.3, 3.0), 4: (0.5, 1.0)}
    assert front(points) == [0, 1, 4]
    assert front({7: (1.0, 1.0), 3: (1.0, 1.0)}) == [3, 7], "equals are both on it"
    assert front({}) == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["study.objectives={parameters:down}"], "study.objectives: expected"),
        (["study.objectives={accuracy:minimize}"], "accuracy is the metric"),
        (["study.constraints={parameters:many}"], "study.constraints: expected"),
        (["study.constraints={parameters:-1}"], "expected dict[str, float of 0 or more] | null"),
        (["study.constraints={parameters:null}"], "hint: 'study.constraints={parameters: 1e6}', "),
        (["study.constraints={parameters:nan}"], "upper limits"),
        (["study.constraints=[parameters]"], "study.constraints: expected"),
        (["study.constraints=parameters"], "study.constraints: expected"),
        (["study.constraints=3"], "study.constraints: expected"),
        (
            ["study.constraints={parms:1}"],
            "hint: did you mean 'parameters'? It reports parameters, ",
        ),
        (["study.constraints={x:1}"], "request; hint: it reports parameters, multiply_adds, "),
        (["study.constraints={accuracy:0.9}"], "accuracy is to be maximised"),
        (["study.constraints.parameters=9"], "set all of it: 'study.constraints={parameters: …}'"),
        (
            ["study.constraints={parameters:interval(1,2)}"],
            "a sweep cannot be nested inside a value",
        ),
        (
            ["study.objectives={parameters:minimize}", "budget.stop_when=gain_below_noise"],
            "supports one objective only; hint: never",
        ),
        (
            ["study.objectives={parameters:minimize}", "sampler=cmaes"],
            "cmaes supports one objective only",
        ),
    ],
)
def test_aims_that_make_no_sense_are_refused(source, overrides, expected):
    found = plan.load(source, ["space=none", "model.dropout=interval(0,0.9)", *overrides])
    (mistake,) = [*found.mistakes, *search_checks.mistakes(found)]
    assert expected in str(mistake)


def test_the_trainer_is_told_what_to_measure_and_trials_repeat_it(source):
    asked = ["study.objectives={parameters:minimize}", "study.constraints={latency_ms:5}"]
    found = plan.load(source, asked).require()
    assert found.cfg.objective.measure == ["parameters", "latency_ms"]
    assert list(found.pins) == asked, "tuner train with a trial's overrides measures the same"
    assert source.compose([]).objective.measure == []
