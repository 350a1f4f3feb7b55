"""The costs of a network, compared with hand calculations."""

import torch
from torch import nn

from tests import recipes
from tuner.train.model import cost

CPU = torch.device("cpu")


def measured(network: nn.Module, *names: str) -> dict[str, float]:
    return cost.measure(network, (1, 8, 8), CPU, names, batch=4)


def test_parameters_and_multiply_adds_are_those_counted_by_hand():
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(192, 10)
    )
    found = measured(network, "parameters", "multiply_adds")
    assert found == {"parameters": 27 + 1930, "multiply_adds": 8 * 8 * 27 + 1920}


def test_only_what_is_asked_for_is_measured():
    assert measured(nn.Flatten(), "accuracy") == {}
    found = measured(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), "latency_ms", "batch_latency_ms"
    )
    assert list(found) == ["latency_ms", "batch_latency_ms"]
    assert all(value > 0 for value in found.values())


def test_a_measurement_changes_no_bit_of_the_training(tmp_path):
    class Noting(recipes.Curve):
        def note(self, **facts: float) -> None:
            pass

    names = list(cost.COSTS)
    plain, watched = recipes.Curve(), Noting()
    recipes.train(tmp_path / "plain", plain)
    recipes.train(tmp_path / "watched", watched, measure=names)
    assert plain.points == watched.points
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            recipes.weights(tmp_path / "plain").values(),
            recipes.weights(tmp_path / "watched").values(),
            strict=True,
        )
    )


def test_a_network_that_is_too_large_costs_no_epoch(tmp_path):
    class TooLarge(BaseException):
        pass

    class Strict(recipes.Curve):
        def note(self, **facts: float) -> None:
            if facts["parameters"] > 10:
                raise TooLarge

    curve = Strict()
    try:
        recipes.train(tmp_path, curve, measure=["parameters"])
    except TooLarge:
        assert curve.points == {}
    else:
        raise AssertionError("it was trained")
