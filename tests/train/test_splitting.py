"""The splits are those of scikit-learn, which takes a second to import."""

import collections

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from tuner.errors import ConfigError
from tuner.train.data.splitting import split

LABELS = np.repeat(np.arange(4), [40, 80, 120, 160])


def test_a_split_is_disjoint_complete_and_in_proportion() -> None:
    rest, part = split(LABELS, 0.25, 0, key="data.test")
    assert sorted([*rest, *part]) == list(range(400))
    assert collections.Counter(LABELS[part].tolist()) == {0: 10, 1: 20, 2: 30, 3: 40}


def test_a_split_is_its_seeds() -> None:
    splits = [split(LABELS, 0.25, seed, key="data.test")[1].tolist() for seed in (0, 0, 1)]
    assert splits[0] == splits[1]
    assert splits[0] != splits[2]


@pytest.mark.parametrize("size", [0.1, 1 / 3, 0.25, 57, 150])
@pytest.mark.parametrize(
    "labels",
    [
        np.arange(300) % 10,
        np.repeat([5, 2, 9], [210, 83, 7]),
        np.random.default_rng(0).integers(0, 7, 300),
        np.linspace(-1, 1, 300),
    ],
    ids=["even", "uneven", "random", "targets"],
)
def test_a_split_is_that_of_scikit_learn(labels: np.ndarray, size: float) -> None:
    classes = None if labels.dtype.kind == "f" else labels
    for seed in (0, 1, 2**32 - 1):
        rest, part = train_test_split(
            np.arange(300), test_size=size, stratify=classes, random_state=seed
        )
        found = split(labels, size, seed, key="data.test")
        assert [rows.tolist() for rows in found] == [rest.tolist(), part.tolist()]


@pytest.mark.parametrize(
    ("labels", "size", "told"),
    [
        (np.array([], int), 0.5, "0.5 cannot split 0 images"),
        (np.arange(20) % 10, 9, "9 cannot split 20 images of 10 classes"),
        (np.arange(20) % 10, 11, "11 cannot split"),
        (np.arange(20) % 10, 20, "20 cannot split"),
        (np.array([0, 0, 0, 0, 1]), 0.4, ".*of which the smallest has 1;"),
        (np.array([0.5, 0.7]), 0.9, r"0\.9 cannot split 2 images; hint"),
    ],
)
def test_a_part_without_an_image_of_each_class_is_refused(
    labels: np.ndarray, size: float, told: str
) -> None:
    with pytest.raises(ConfigError, match=f"data.test: {told}"):
        split(labels, size, 0, key="data.test")
