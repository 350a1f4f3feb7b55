import functools
import itertools
import subprocess
import sys

import pytest
import torch
from torch.optim import lr_scheduler

from tests.recipes import network
from tuner.train.optim import parameter_groups

STEPS = 60


def rates(make_scheduler) -> list[float]:
    """The learning rates of PyTorch's own scheduler, from a base of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer)
    seen = []
    for _ in range(STEPS):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [
        (parameter_groups.constant, lambda o: lr_scheduler.LambdaLR(o, lambda _: 1.0)),
        (
            functools.partial(parameter_groups.step, drops=2, gamma=0.3),
            lambda o: lr_scheduler.StepLR(o, STEPS // 3, 0.3),
        ),
        (
            functools.partial(parameter_groups.cosine, final=0.01),
            lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.01),
        ),
    ],
)
def test_schedules_equal_pytorchs(schedule, theirs):
    assert [schedule(step / STEPS) for step in range(STEPS)] == pytest.approx(rates(theirs))


WARMED = {
    "constant": parameter_groups.constant,
    "step": functools.partial(parameter_groups.step, drops=2, gamma=0.3),
    "cosine": functools.partial(parameter_groups.cosine, final=0.01),
    "restarts": functools.partial(parameter_groups.restarts, cycles=2, stretch=2.0, final=0.01),
}


@pytest.mark.parametrize("schedule", WARMED.values(), ids=WARMED)
def test_a_warm_up_rises_linearly_and_then_the_schedule_runs_whole(schedule):
    warmed = functools.partial(schedule, warmup=0.25)
    assert [warmed(p) for p in (0.0, 0.125, 0.1875)] == pytest.approx([0.0, 0.5, 0.75])
    for share in (0.0, 0.2, 0.5, 0.9):
        assert warmed(0.25 + 0.75 * share) == pytest.approx(schedule(share))


@pytest.mark.parametrize("stretch", [1, 2])
def test_restarts_equal_pytorchs(stretch):
    theirs = rates(  # 20 + 20 + 20, or 20 + 40
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, STEPS // 3, stretch, eta_min=0.05)
    )
    cycles = 4 - stretch
    ours = functools.partial(
        parameter_groups.restarts, cycles=cycles, stretch=float(stretch), final=0.05
    )
    assert [ours(step / STEPS) for step in range(STEPS)] == pytest.approx(theirs)


def test_onecycle_goes_through_its_three_points_without_a_jump():
    schedule = functools.partial(parameter_groups.onecycle, warmup=0.3, initial=0.04, final=1e-4)
    assert schedule(0.0) == pytest.approx(0.04)
    assert schedule(0.15) == pytest.approx(0.52)
    assert schedule(0.3) == pytest.approx(1.0)
    assert schedule(0.65) == pytest.approx((1 + 1e-4) / 2)
    assert schedule(1.0) == pytest.approx(1e-4)
    curve = [schedule(step / 1000) for step in range(1001)]
    assert max(abs(a - b) for a, b in itertools.pairwise(curve)) < 0.006


def test_onecycle_without_warm_up_starts_at_the_top():
    assert parameter_groups.onecycle(0.0, warmup=0.0, initial=0.04, final=0.0) == 1.0


def test_biases_norms_and_slopes_do_not_decay():
    model = network(activation="prelu", hidden=8)((3, 16, 16), 10)
    decaying, vectors = parameter_groups.groups(model)
    assert vectors["weight_decay"] == 0.0
    assert "weight_decay" not in decaying
    assert {p.ndim for p in decaying["params"]} == {2, 4}
    assert {p.ndim for p in vectors["params"]} == {1}
    assert len(decaying["params"]) + len(vectors["params"]) == len(list(model.parameters()))


def test_a_frozen_weight_is_left_out():
    model = network()((1, 8, 8), 10)
    model.requires_grad_(False)
    assert [group["params"] for group in parameter_groups.groups(model)] == [[], []]


def test_factors_multiply_the_first_learning_rate_also_after_a_restore():
    def optimizer() -> torch.optim.Optimizer:
        return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)

    first, second = optimizer(), optimizer()
    parameter_groups.set_factor(first, 0.5)
    parameter_groups.set_factor(first, 0.25)
    assert first.param_groups[0]["lr"] == 0.05
    second.load_state_dict(first.state_dict())
    parameter_groups.set_factor(second, 0.5)
    assert second.param_groups[0]["lr"] == 0.1


class Halved(torch.optim.SGD):
    """An optimiser of a user's own, which halves the gradients first."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for weight in self.param_groups[0]["params"]:
            weight.grad /= 2
        super().step(closure)


def test_an_optimiser_does_not_load_the_compiler():
    code = (
        "import sys, torch; from tuner.train.optim import parameter_groups;"
        "parameter_groups.spare_compiler(); w = torch.ones(2, requires_grad=True);"
        "o = torch.optim.AdamW([w], lr=0.1); o.zero_grad(); o.state_dict();"
        "w.sum().backward(); parameter_groups.stepper(o)();"
        "print('torch._dynamo' in sys.modules, w.tolist() == [1.0, 1.0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD, Halved])
def test_a_step_is_that_of_the_optimiser(kind: type[torch.optim.Optimizer]) -> None:
    stepped, expected = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    for weight in (stepped, expected):
        weight.grad = torch.tensor([0.5, -2.0])
    parameter_groups.stepper(kind([stepped], lr=0.1))()  # type: ignore[call-arg]
    kind([expected], lr=0.1).step()  # type: ignore[call-arg]
    assert stepped.tolist() == expected.tolist() != [1.0, 1.0]


def test_whole_numbers_serve_as_betas():
    adam = functools.partial(torch.optim.AdamW, lr=1e-3, betas=[0, 0])
    assert parameter_groups.make(adam, torch.nn.Linear(2, 2)).defaults["betas"] == (0.0, 0.0)


@pytest.mark.parametrize("name", ["NAdam", "AdamW"])
def test_numbers_that_an_optimiser_reads_stay_on_the_host_when_it_is_restored(name):
    """The parameters that it is restored for are on a device, here one without data."""
    begun, resumed = (
        getattr(torch.optim, name)([torch.nn.Parameter(torch.zeros(2, device=place))])
        for place in ("cpu", "meta")
    )
    begun.param_groups[0]["params"][0].grad = torch.ones(2)
    begun.step()
    parameter_groups.restore(resumed, begun.state_dict()["state"])
    (state,) = resumed.state.values()
    assert {value.device.type for value in state.values() if not value.dim()} == {"cpu"}
    assert {value.device.type for value in state.values() if value.dim()} == {"meta"}
