"""Labels in whatever form become classes from 0 on, or numbers, or are refused in clear words."""

import re
from typing import Any

import numpy as np
import pytest

from tuner.errors import TunerError
from tuner.train.data.labels import understood

CLASSES = np.arange(6) % 3
WORDS = np.array(["cat", "dog", "owl"])


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (CLASSES, "012"),
        (CLASSES.astype(np.uint8)[:, None], "012"),
        (CLASSES.astype(">i2"), "012"),
        (CLASSES + 1, "123"),
        (CLASSES.astype(np.uint64) * 2, "024"),
        (np.eye(3)[CLASSES], "012"),
        (np.eye(3, dtype=bool)[CLASSES], "012"),
        (np.eye(3, dtype=np.int64)[CLASSES], "012"),
        (WORDS[CLASSES], WORDS),
        (WORDS[CLASSES][:, None], WORDS),
        (WORDS.astype("S")[CLASSES], WORDS),
        (np.array(["é".encode(), b"o", b"a"])[CLASSES], None),
    ],
)
def test_classes_are_written_in_many_forms(targets: np.ndarray, names: Any) -> None:
    found = understood(targets)
    assert found.values.dtype == np.int64
    if names is None:
        assert found.names == ("a", "o", "é")
        assert found.values.tolist() == [2, 1, 0] * 2
    else:
        assert found.names == tuple(names)
        assert found.values.tolist() == CLASSES.tolist()


def test_two_classes_may_be_true_and_false() -> None:
    found = understood(np.array([True, False, True]))
    assert (found.values.tolist(), found.names) == ([1, 0, 1], ("0", "1"))


def test_names_bring_strings_into_an_order_and_count_from_0_for_numbers() -> None:
    names = np.array([b"owl", b"emu", b"dog", b"cat"])
    found = understood(WORDS[CLASSES], names)
    assert found.values.tolist() == [3, 2, 0] * 2
    assert found.names == ("owl", "emu", "dog", "cat")
    assert understood(CLASSES, names).values.tolist() == CLASSES.tolist()


def test_floats_are_numbers_to_be_predicted() -> None:
    found = understood(np.array([0.5, 1, 2]))
    assert (found.values.shape, found.values.dtype, found.names) == ((3, 1), np.float32, ("0",))
    assert understood(np.array([[0.5, 1], [1, 0]]), np.array(["x", "y"])).names == ("x", "y")


def test_what_is_not_plain_is_told() -> None:
    assert understood(CLASSES).told == understood(np.array([0.5, 1])).told == ""
    assert understood(CLASSES + 1).told == "numbers from 1 to 3, converted to classes"
    assert understood(np.eye(3)[CLASSES]).told == "one-hot rows, converted to classes"
    assert "targets.astype(int) makes classes" in understood(CLASSES * 1.0).told


@pytest.mark.parametrize(
    ("targets", "names", "message"),
    [
        (CLASSES - 1, None, "targets from -1 to 1: .*; hint: if -1 means .*images.targets >= 0"),
        (CLASSES - 2**40, None, "classes must not be negative"),
        ((CLASSES - 1).astype(np.uint32), None, "up to 4294967295, but at most 100,000 classes"),
        (CLASSES * 0, None, "all targets belong to one class, 0; hint: at least two classes"),
        (WORDS[CLASSES * 0], None, "all targets belong to one class, cat"),
        (CLASSES + 1, WORDS, "3 names for 4 .*; hint: if targets count from 1: targets - 1"),
        (CLASSES, WORDS[:1], "1 names for 3 classes or numbers; hint: name each, or omit names"),
        (np.eye(3)[CLASSES], WORDS[:2], "2 names for 3"),
        (np.ones((6, 2)), WORDS, "3 names for 2"),
        (WORDS[CLASSES], WORDS[:2], "names lacks targets: owl; hint: "),
        (np.array(["cat", ""] * 3), None, "contain an empty or a repeated string"),
        (CLASSES, np.array(["a", "b", "a"]), "names contain an empty or a repeated string; hint: "),
        (CLASSES, np.array(3), r"names int64\[\]; hint: use np.array"),
        (CLASSES, np.array([1.5, 2, 3]), r"names float64\[3\]"),
        (np.array([b"caf\xe9", b"a"]), None, r"targets are not UTF-8; hint: np.char.decode"),
        (CLASSES, np.array(["a", "b", "\udc80"]), "names are not UTF-8"),
        (np.eye(3, dtype=int)[CLASSES] * 2, None, r"targets int64\[6, 3\]; hint: use integers or"),
        (np.zeros((6, 0)), None, r"targets float64\[6, 0\]"),
        (np.zeros((6, 2, 2)), None, r"targets float64\[6, 2, 2\]"),
        (CLASSES * 1j, None, r"targets complex128\[6\]; hint: "),
        (CLASSES.astype("M8[s]"), None, r"targets datetime64\[s\]\[6\]; hint: "),
        (np.array([1.0, np.nan]), None, "must be finite as float32; 1 are not; hint: "),
        (np.array([1.0, 1e300]), None, "must be finite as float32"),
    ],
)
def test_other_labels_are_refused_with_a_cure(
    targets: np.ndarray, names: np.ndarray | None, message: str
) -> None:
    with pytest.raises(TunerError) as raised:
        understood(targets, names)
    assert re.search(message, str(raised.value))
    assert "; hint: " in str(raised.value)
