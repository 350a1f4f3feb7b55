import functools
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from tests import recipes
from tuner.errors import ConfigError
from tuner.train.data.augment import Augment
from tuner.train.learner import Learner
from tuner.train.loss import CrossEntropy
from tuner.train.model import fine_tuning
from tuner.train.model.fine_tuning import Staged
from tuner.train.optim import parameter_groups

SHIPPED = Path(__file__).parents[2] / "conf" / "optimizer"


class Tower(Staged):
    """Three stages of convolution, norm and dropout below a head, and a lone parameter."""

    def __init__(self, **changes) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1))
        self.floors = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5)) for _ in range(3)
        )
        self.head = nn.Linear(2, 4)
        first, *rest = self.floors
        settings = {"freeze": 0, "unfreeze_epoch": 0, "layer_decay": 1.0} | changes
        self.set_stages(
            [[first, self.token], *([floor] for floor in rest), [self.head]], **settings
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        for floor in self.floors:
            maps = floor(maps) + self.token
        return self.head(maps.mean((2, 3)))


def learning(tower: Tower) -> list[bool]:
    """Which stages get a gradient from a step in training."""
    tower.zero_grad(set_to_none=True)
    tower.train()(torch.randn(8, 2, 4, 4)).square().sum().backward()
    parts = [tower.floors[0], tower.floors[1], tower.floors[2], tower.head]
    return [all(p.grad is not None for p in part.parameters()) for part in parts]


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [(0, 0), (1, 1), (3, 3), (9, 3), (0.0, 0), (0.34, 1), (0.5, 2), (0.67, 2), (1.0, 3)],
)
def test_a_share_or_a_number_of_stages_is_frozen_but_never_the_head(freeze, frozen):
    tower = Tower(freeze=freeze)
    assert learning(tower) == [False] * frozen + [True] * (4 - frozen)
    assert tower.token.requires_grad == (frozen == 0)


def test_frozen_norms_keep_their_statistics_and_use_them():
    tower = Tower(freeze=2)
    before = [floor[1].running_mean.clone() for floor in tower.floors]
    for _ in range(3):
        tower.train()(torch.randn(8, 2, 4, 4) + 3)
    same = [
        torch.equal(floor[1].running_mean, old)
        for floor, old in zip(tower.floors, before, strict=True)
    ]
    assert same == [True, True, False]
    assert [floor[1].training for floor in tower.floors] == [False, False, True]
    assert [floor[2].training for floor in tower.floors] == [False, False, True], "nothing drops"
    maps = torch.randn(1, 2, 4, 4)
    frozen = nn.Sequential(*tower.floors[:2])
    assert torch.equal(frozen(maps), frozen(maps))


def test_an_epoch_frees_what_was_frozen():
    tower = Tower(freeze=2, unfreeze_epoch=3)
    assert [tower.begin_epoch(epoch) for epoch in (1, 2)] == [False, False]
    assert learning(tower) == [False, False, True, True]
    assert tower.begin_epoch(3), "a recorded step must be recorded anew"
    assert learning(tower) == [True] * 4
    assert all(floor[1].training for floor in tower.floors)
    assert not tower.begin_epoch(4)
    assert Tower(freeze=2, unfreeze_epoch=3).begin_epoch(7), "as a resumed run begins"


class Two(Staged):
    """A dense layer that is frozen in the first epoch, and a head."""

    def __init__(self, layer_decay: float) -> None:
        super().__init__()
        self.below, self.head = nn.Linear(64, 8), nn.Linear(8, 10)
        stages = [[self.below], [self.head]]
        self.set_stages(stages, freeze=1, unfreeze_epoch=2, layer_decay=layer_decay)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.below(images.flatten(1)).relu())


def freed(optimizer: functools.partial, layer_decay: float) -> Learner:
    torch.manual_seed(0)
    loss = CrossEntropy([1] * 10, **recipes.LOSS)
    settings, images = recipes.settings(), recipes.digits(Augment())
    return Learner(Two(layer_decay), optimizer, parameter_groups.constant, loss, images, settings)


def weights(run: Learner, *epochs: int) -> list[torch.Tensor]:
    """The network's, after these epochs more."""
    for epoch in epochs:
        run.train_epoch(run.data.train, epoch, torch.Generator().manual_seed(epoch))
    return [parameter.detach() for parameter in run.network.parameters()]


@pytest.mark.parametrize("layer_decay", [1.0, 0.8])
@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_stage_is_freed_under_every_shipped_optimiser(path, layer_decay):
    """As under the optimiser's plain form, which makes its state parameter by parameter."""
    optimizer = instantiate(OmegaConf.load(path), _convert_="all")
    plain = {name: False for name in ("fused", "foreach") if name in optimizer.keywords}
    found = weights(freed(optimizer, layer_decay), 1, 2)
    expected = weights(freed(functools.partial(optimizer, **plain), layer_decay), 1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    killed, resumed = freed(optimizer, layer_decay), freed(optimizer, layer_decay)
    weights(killed, 1)
    assert not torch.equal(killed.network.below.weight, found[0]), "it learned nothing once free"
    resumed.load_state_dict(killed.state_dict())
    assert all(map(torch.equal, weights(resumed, 2), found))


def test_a_plain_network_has_no_stages():
    digits = recipes.digits()
    assert fine_tuning.normalised(digits, nn.Linear(1, 1)) is digits


def rates(tower: Tower, lr: float = 0.1) -> dict[nn.Parameter, float]:
    optimizer = parameter_groups.make(
        lambda groups: torch.optim.SGD(groups, lr=lr, weight_decay=1.0), tower
    )
    parameter_groups.set_factor(optimizer, 0.5)
    return {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}


def test_lower_stages_learn_more_slowly_by_a_power_of_their_depth():
    tower = Tower(layer_decay=0.5)
    found = rates(tower)
    assert found[tower.head.weight] == pytest.approx(0.05)
    powers = [found[floor[0].weight] for floor in tower.floors]
    assert powers == pytest.approx([0.05 / 8, 0.05 / 4, 0.05 / 2])
    assert found[tower.token] == pytest.approx(0.05 / 8)
    assert len(found) == len(list(tower.parameters()))


def test_what_never_learns_is_not_in_the_optimiser_and_what_learns_later_is():
    never, later = Tower(freeze=2), Tower(freeze=2, unfreeze_epoch=4)
    assert {never.floors[2][0].weight, never.head.weight} <= rates(never).keys()
    assert not {never.floors[0][0].weight, never.token} & rates(never).keys()
    assert rates(later).keys() == set(later.parameters())


def test_only_kernels_and_matrices_decay():
    optimizer = parameter_groups.make(
        lambda groups: torch.optim.SGD(groups, lr=1.0, weight_decay=1.0), Tower(layer_decay=0.5)
    )
    for group in optimizer.param_groups:
        decays = {parameter.ndim >= 2 for parameter in group["params"]}
        assert decays <= {group["weight_decay"] == 1.0}
        assert "factor" not in group


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze": -1}, r"model\.freeze: expected int of 0 or more \| float from 0 to 1, got -1"),
        ({"freeze": 1.5}, r"model\.freeze: .*got 1\.5"),
        ({"unfreeze_epoch": -2}, r"model\.unfreeze_epoch: .*got -2"),
        ({"layer_decay": 0.0}, r"model\.layer_decay: .*got 0\.0"),
        ({"layer_decay": 1.1}, r"model\.layer_decay: .*got 1\.1"),
    ],
)
def test_impossible_settings_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        Tower(**changes)
