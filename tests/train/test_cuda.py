"""Each option of the trainer on a simulated CUDA device learns as on the CPU."""

import typing
from collections.abc import Iterator

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from sklearn.datasets import load_digits

from tests import fakecuda
from tests.fakecuda.kernels import Kernels
from tests.fakecuda.trainings import (
    BASE,
    SMALL,
    check_discipline,
    expected,
    on_the_device,
    same,
    train,
)
from tuner.config.composition import CONF
from tuner.config.lookup import keys
from tuner.train import metrics
from tuner.train.device import cuda_graph, hardware
from tuner.train.model import blocks, cnn

pytestmark = fakecuda.needed

STEPS = 2 * (90 // 15)
CASES = {
    "sgd": [
        "optimizer=sgd", "schedule=onecycle", "loss=cross_entropy", "loss.label_smoothing=0.1",
        "loss.l1=1e-4", "loss.l2=1e-4", "trainer.clip=1.0", "data.augment.shift=1",
        "data.augment.flip=true", "data.augment.cutout=2",
    ],
    "adam": [
        "optimizer=adam", "schedule=constant", "schedule.warmup=0.2", "loss=focal",
        "loss.gamma=1.5", "loss.class_weights=balanced", "model.activation=leaky_relu",
        "model.pooling=avg", "model.head=flatten", "model.hidden=8", "model.initialisation=xavier",
        "trainer.ema=0.9", "data.balanced=true", "study.metric=macro_f1",
    ],
    "adamw": [
        "optimizer=adamw", "schedule=cosine", "model.activation=prelu", "model.block=residual",
        "model.squeeze=2", "model.drop_path=0.2", "model.kernel_size=[2,3]",
        "data.augment.mixup=0.2", "trainer.accumulate=2", "study.metric=auroc",
    ],
    "rmsprop": [
        "optimizer=rmsprop", "schedule=step", "loss=mse", "model.activation=elu",
        "model.block=depthwise", "model.batch_norm=false", "model.pooling=none",
        "model.padding=valid", "model.initialisation=default", "data.augment.cutmix=1.0",
        "data.augment.shift=1", "data.augment.flip=true", "data.augment.border=reflect",
        "trainer.tta=true", "study.metric=balanced_accuracy",
    ],
    "nadam": [
        "optimizer=nadam", "schedule=restarts", "model.activation=gelu", "model.widths=[4,6]",
        "model.stride=2", "model.pooling=none", "data.augment.mixup=0.2",
        "data.augment.cutmix=1.0", "trainer.ema=0.9", "trainer.accumulate=2", "trainer.clip=1.0",
        "study.metric=loss",
    ],
    "lion": [
        "optimizer=lion", "trainer.precision=bf16", "model.activation=silu", "model.depth=3",
        "model.growth=1.5", "model.dropout=0.5", "trainer.patience=3",
    ],
    "half": [  # bf16, where the device computes in it
        "trainer.precision=auto", "model.activation=sigmoid",
        "loss.class_weights=[1,1,1,1,1,2,2,2,2,2]",
    ],
    "streamed": [
        "model.activation=tanh", "data.augment.flip=true", "trainer.eval_batch_size=16",
        "trainer.precision=tf32",
    ],
    "l1": ["data=npz", "loss=l1", "loss.l2=1e-3", "study.metric=mae"],
    "huber": ["data=npz", "loss=huber", "loss.delta=0.5", "study.metric=mse"],
}  # fmt: skip
CHOICES = {
    "model.activation": typing.get_args(blocks.Activation),
    "model.block": typing.get_args(blocks.Block),
    "model.padding": typing.get_args(blocks.Padding),
    "model.pooling": typing.get_args(cnn.Pooling),
    "model.initialisation": typing.get_args(cnn.Initialisation),
    "trainer.precision": typing.get_args(hardware.Precision),
    "study.metric": (*metrics.METRICS, metrics.RANKED, *metrics.ERRORS),
}
ELSEWHERE = {"trainer.deterministic", "trainer.protocol", "trainer.fused", "trainer.graph"}
"""Keys that other tests of this file set."""
HOSTS = {
    "trainer.threads", "trainer.checkpoint_every.epochs", "trainer.checkpoint_every.seconds",
    "trainer.checkpoint_every.share", "trainer.fused_wait", "trainer.devices", "trainer.initial",
}  # fmt: skip
"""Keys that change nothing on the device, or are about several.

Initial weights are read before the network is moved to its device.
"""


def test_every_option_is_in_a_case(source):
    given = {override for case in (BASE, SMALL, *CASES.values()) for override in case}
    default = source.compose([])
    for group in ("optimizer", "schedule", "loss"):
        assert {f"{group}={option}" for option in source.options(group)} <= given
    for key, choices in CHOICES.items():  # the default needs no saying
        without_secrets = {f"{key}={choice}" for choice in choices} - given
        assert without_secrets <= {f"{key}={OmegaConf.select(default, key)}"}
    named = {override.partition("=")[0] for override in given} | ELSEWHERE | HOSTS
    for loss in source.options("loss"):
        assert leaves("loss", OmegaConf.load(CONF / f"loss/{loss}.yaml")) <= named
    for section in ("model", "trainer", "data.augment"):
        assert leaves(section, OmegaConf.select(default, section)) <= named


def leaves(name: str, section: DictConfig) -> set[str]:
    found = {f"{name}.{key}" for key in keys(section) if not key.rpartition(".")[2].startswith("_")}
    return {key for key in found if not any(other.startswith(f"{key}.") for other in found)}


@pytest.fixture(scope="module", autouse=True)
def measured(tmp_path_factory):
    """Images in colour with two numbers to be predicted for each."""
    digits, root = load_digits(), tmp_path_factory.mktemp("data")
    images = np.stack([digits.images[start : start + 200] for start in (0, 200, 400)], axis=3)
    targets = np.stack([digits.target[:200] / 9, images.mean((1, 2, 3)) / 16], axis=1)
    images = images.astype(np.uint8)
    np.savez(root / "images.npz", images=images, targets=targets.astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNER_DATA", str(root))
        yield


@pytest.fixture
def device() -> Iterator[Kernels]:
    with on_the_device() as kernels:
        yield kernels


@pytest.mark.parametrize("rung", ["graph", "eager"])
@pytest.mark.parametrize("name", CASES)
def test_a_run_learns_as_on_the_cpu_and_waits_for_nothing(
    name, rung, device, tmp_path, monkeypatch
):
    """A number, a stream or a draw that a replay has wrong shows in the curve."""
    wanted = expected(*(override.replace("=auto", "=bf16") for override in CASES[name]))
    if name == "streamed":
        monkeypatch.setattr(hardware, "free_bytes", lambda device: 0)
    same(train(tmp_path, "cuda:0", CASES[name], rung), wanted)
    check_discipline(device)
    assert device.replays == (STEPS - cuda_graph.WARM_UP if rung == "graph" else 0)
