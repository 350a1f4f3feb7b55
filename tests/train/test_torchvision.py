import functools
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from tests import recipes
from tests.recipes import CPU, Curve, settings, train
from tuner.errors import ConfigError, Infeasible, TunerError
from tuner.train.data import dataset
from tuner.train.data.augment import Augment
from tuner.train.model import fine_tuning
from tuner.train.model import torchvision as transfer

MODEL = {
    "name": "resnet18", "weights": None, "size": None, "dropout": None, "freeze": 0.0,
    "unfreeze_epoch": 0, "layer_decay": 1.0,
}  # fmt: skip
FILE = "mobilenet_v3_small-047dcff4.pth"  # as torchvision names it


def build(in_shape=(3, 64, 64), classes=10, **changes) -> transfer.Classifier:
    return transfer.classifier(in_shape, classes, **MODEL | changes)


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A file of MobileNet's weights as it might have been downloaded, and what is in it."""
    torch.manual_seed(3)
    network = models.get_model("mobilenet_v3_small", weights=None)
    path = tmp_path / "cache" / "checkpoints" / FILE
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    return path, network.state_dict()


# Every family of torchvision's once; RegNet works out its widths with real tensors.
FAMILIES = {
    "alexnet": 64, "convnext_tiny": 64, "densenet121": 64, "efficientnet_b0": 64,
    "efficientnet_v2_s": 64, "googlenet": 64, "inception_v3": 128, "maxvit_t": 224,
    "mnasnet0_5": 64, "mobilenet_v2": 64, "mobilenet_v3_small": 64, "resnet18": 64, "resnet50": 64,
    "resnext50_32x4d": 64, "shufflenet_v2_x0_5": 64, "squeezenet1_1": 64, "swin_t": 64,
    "swin_v2_t": 64, "vgg11": 64, "vgg11_bn": 64, "vit_b_32": 224, "wide_resnet50_2": 64,
    "regnet_x_400mf": 64,
}  # fmt: skip


def parameters(stage: fine_tuning.Stage) -> list[nn.Parameter]:
    return [
        p
        for part in stage
        for p in ([part] if isinstance(part, nn.Parameter) else part.parameters())
    ]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gets_a_head_and_stages_that_hold_each_weight_once(name):
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        network = build(name=name, size=FAMILIES[name], dropout=0.3, freeze=0.5)
    held = [id(p) for stage in network.stages for p in parameters(stage)]
    assert sorted(held) == sorted(map(id, network.parameters()))
    assert len(network.stages) >= 8
    assert network.frozen == round(0.5 * (len(network.stages) - 1))
    assert {p.shape[0] for p in parameters(network.stages[-1])} == {10}
    drops = {layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)}
    assert drops <= {0.0, 0.3}
    images = torch.zeros(2, 1, 64, 64, device="meta")
    assert network.train().to("meta")(images).shape == (2, 10)


def test_stages_go_from_the_images_to_the_head():
    network = build()
    names = {id(m): name for name, m in network.network.named_modules()}
    found = [[names[id(part)] for part in stage] for stage in network.stages]
    assert found[0] == ["conv1", "bn1", "relu", "maxpool"], "a norm belongs to what is before it"
    assert [stage[0] for stage in found[1:-1]] == [
        f"layer{layer}.{block}" for layer in (1, 2, 3, 4) for block in (0, 1)
    ]
    assert found[-1] == ["fc"]


def test_without_weights_the_datas_own_normalisation_stays():
    digits = recipes.digits()
    network = build((1, 8, 8), size=32)
    assert fine_tuning.normalised(digits, network) is digits
    assert network.eval()(digits.normalise(digits.train.images[:3])).shape == (3, 10)


def test_a_local_file_gives_all_but_the_head(small):
    path, tensors = small
    saved = path.parent / "weights 'é'.safetensors"
    save_file({f"network.{name}": tensor for name, tensor in tensors.items()}, saved)
    for file in (path, saved):
        network = build(name="mobilenet_v3_small", weights=str(file)).network
        own = network.state_dict()
        same = {name for name in own if torch.equal(own[name], tensors.get(name, torch.empty(0)))}
        assert set(own) - same == {"classifier.3.weight", "classifier.3.bias"}
        assert own["classifier.3.weight"].shape == (10, 1024)


def test_a_file_with_another_head_will_do(tmp_path):
    other = build(classes=7)
    torch.save(other.state_dict(), tmp_path / "other.pth")
    network = build(weights=str(tmp_path / "other.pth"))
    assert torch.equal(network.network.conv1.weight, other.network.conv1.weight)


@pytest.mark.parametrize("weights", ["DEFAULT", "IMAGENET1K_V1"])
def test_named_weights_come_through_torchvision(small, weights, monkeypatch):
    """Only the download is left out: the file lies where torch.hub would put it."""
    path, tensors = small
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(path.parent.parent))
    network = build(name="mobilenet_v3_small", weights=weights)
    first = network.network.features[0][0].weight
    assert torch.equal(first, tensors["features.0.0.weight"])
    preset = models.MobileNet_V3_Small_Weights.DEFAULT.transforms()
    assert network.mean == pytest.approx([255 * value for value in preset.mean])


def test_weights_that_cannot_be_fetched_say_what_to_do(tmp_path, monkeypatch):
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    with pytest.raises(TunerError, match=r"resnet18 DEFAULT .*no route.*hint: model\.weights=FILE"):
        build(weights="DEFAULT")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "efficientnet_b0"])
def test_preprocessing_is_that_of_the_weights(name, channels, tmp_path):
    """Against torchvision's own transforms of the same images; they round to whole grey levels."""
    torch.save(models.get_model(name, weights=None).state_dict(), tmp_path / "w.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 70, 90, channels), dtype=np.uint8)
    split = dataset.Split(torch.from_numpy(pixels), torch.arange(4))
    whole = dataset.Data(split, split, split, ("a",), torch.zeros(channels), torch.ones(channels))
    network = build((channels, 70, 90), name=name, weights=str(tmp_path / "w.pth"))
    whole = fine_tuning.normalised(whole, network)
    seen = network._resized(whole.normalise(split.images))

    preset = models.get_model_weights(name).DEFAULT.transforms()
    theirs = preset(split.images.permute(0, 3, 1, 2).expand(-1, 3, -1, -1))
    assert seen.shape == theirs.shape == (4, 3, preset.crop_size[0], preset.crop_size[0])
    assert (seen - theirs).abs().max() < 1.5 / 255 / min(preset.std)


def test_a_size_replaces_the_resizing(small):
    network = build((1, 28, 40), name="mobilenet_v3_small", weights=str(small[0]), size=48)
    assert network._resized(torch.zeros(2, 3, 28, 40)).shape == (2, 3, 48, 48)
    same = torch.zeros(2, 3, 48, 48)
    assert network._resized(same) is same


def test_a_frozen_run_leaves_weights_and_statistics_as_they_were_and_then_frees_them(tmp_path):
    torch.manual_seed(0)
    source = models.get_model("mobilenet_v3_small", weights=None)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    settings_ = {"name": "mobilenet_v3_small", "weights": str(tmp_path / "w.pth"), "size": 32}
    for epoch, frozen in ((0, True), (2, False)):
        model = functools.partial(
            transfer.classifier,
            **MODEL | settings_ | {"freeze": 5, "unfreeze_epoch": epoch, "layer_decay": 0.8},
        )
        curve = Curve()
        train(tmp_path / str(epoch), curve, model=model, trainer=settings(epochs=2, batch_size=75))
        after = recipes.weights(tmp_path / str(epoch))
        for name, before in source.state_dict().items():
            stage = int(name.split(".")[1]) if name.startswith("features") else 99
            changed = not torch.equal(after[f"network.{name}"], before) if stage < 99 else True
            assert changed == (stage >= 5 or not frozen) or before.numel() < 200, name
        statistics = "features.0.1.running_mean"
        kept = torch.equal(after[f"network.{statistics}"], source.state_dict()[statistics])
        assert kept == frozen


def test_a_run_resumes_to_the_same_bits_across_the_epoch_that_frees(tmp_path):
    torch.save(build(name="mobilenet_v3_small").state_dict(), tmp_path / "w.pth")
    model = functools.partial(
        transfer.classifier,
        **MODEL | {
            "name": "mobilenet_v3_small", "weights": str(tmp_path / "w.pth"), "size": 16,
            "freeze": 1.0, "unfreeze_epoch": 2, "layer_decay": 0.7,
        },
    )  # fmt: skip
    change = {"model": model, "trainer": settings(ema=0.9, clip=1.0, batch_size=75)}
    whole = Curve()
    train(tmp_path / "whole", whole, **change)
    for epoch in (1, 2):  # the last frozen one, and the first free one
        before, after = Curve(leave_in=epoch), Curve()
        with pytest.raises(SystemExit):
            train(tmp_path / f"killed{epoch}", before, **change)
        train(tmp_path / f"killed{epoch}", after, **change)
        assert before.points | after.points == whole.points


@pytest.mark.slow
def test_knowing_the_digits_helps(tmp_path):
    """A head on the features of a network that learned digits 0 … 9 beats one on noise."""
    images = functools.partial(dataset.digits, augment=Augment(), **recipes.DATA | {"limit": None})
    small = {"name": "shufflenet_v2_x0_5", "size": 32}
    taught = functools.partial(transfer.classifier, **MODEL | small)
    train(
        tmp_path / "taught", Curve(), data=images, model=taught,
        trainer=settings(epochs=3, protocol="final"),
    )  # fmt: skip
    values = {}
    for weights in (None, str(tmp_path / "taught" / "model.safetensors")):
        model = functools.partial(
            transfer.classifier, **MODEL | small | {"weights": weights, "freeze": 1.0}
        )
        values[weights] = train(
            tmp_path / f"{bool(weights)}", Curve(), data=images, model=model,
            trainer=settings(epochs=2),
        )  # fmt: skip
    noise, knowing = values.values()
    assert knowing > noise + 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "resnet19"}, r"model\.name: resnet19 is not a classifier .*resnet18"),
        ({"weights": "IMAGENET1K_V9"}, r"resnet18 has no weights .*; hint: null, IMAGENET1K_V1"),
        ({"weights": "/nowhere/w.pth"}, r"/nowhere/w\.pth: file not found"),
        ({"in_shape": (4, 64, 64)}, "takes 1 or 3 channels, these images have 4"),
    ],
)
def test_mistakes_are_named_with_what_would_do(changes, message):
    with pytest.raises(ConfigError, match=message):
        build(**changes)


def test_a_file_of_another_network_is_named(small):
    with pytest.raises(ConfigError, match=r"does not fit: .* of .* tensors.*such as"):
        build(name="mobilenet_v2", weights=str(small[0]))


@pytest.mark.parametrize("name", ["vgg11", "vit_b_32", "inception_v3"])
def test_images_that_are_too_small_are_infeasible(name):
    with pytest.raises(
        Infeasible, match=rf"{name} cannot process images of 8x8 .*hint: model\.size"
    ):
        build((1, 8, 8), name=name)


def test_the_device_of_the_probe_is_not_the_networks():
    assert {p.device for p in build().parameters()} == {CPU}
