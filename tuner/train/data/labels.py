"""Convert labels in common forms to class indices, or to numbers for regression."""

from dataclasses import dataclass

import numpy as np

from tuner.errors import TunerError

MOST_CLASSES = 100_000
"""A larger label is an error, such as a -1 that was cast to an unsigned integer."""


@dataclass(frozen=True)
class Labels:
    """``values`` int64 [n], or float32 [n, k] for regression; ``names`` of the classes or targets.

    ``told`` describes how the targets were interpreted, if that is not obvious.
    """

    values: np.ndarray
    names: tuple[str, ...]
    told: str = ""


def understood(targets: np.ndarray, given: np.ndarray | None = None) -> Labels:
    """Interpret targets; ``given`` are the names of the classes or numbers, if any.

    Whole numbers [n] or [n, 1] are classes; without names, each that occurs is one. Strings are
    classes, ordered by the names, and so are rows [n, k] with a single 1 among zeros. Floats [n] or
    [n, k] are numbers to predict.

    Raises:
        TunerError: The targets cannot be used; the message has a hint.
    """
    names = () if given is None else _words(given, "names")
    kind = targets.dtype.kind
    if kind != "f" and targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if _is_one_hot(targets):
        values = targets.argmax(1)
        every = _named(names, targets.shape[1], exactly=True)
        found = Labels(values, every, "one-hot rows, converted to classes")
    elif kind in "US" and targets.ndim == 1:
        found = _from_strings(targets, names)
    elif kind in "biu" and targets.ndim == 1:
        found = _from_integers(targets, names)
    elif kind == "f" and targets.ndim in (1, 2) and targets.size:
        return _numbers(targets, names)
    else:
        raise TunerError(
            f"targets {targets.dtype}{list(targets.shape)}",
            hint="use integers or strings [n], or one-hot rows [n, k], for classes; floats [n] "
            "or [n, k] for regression",
        )
    if len(found.names) < 2:
        raise TunerError(
            f"all targets belong to one class, {found.names[0]}",
            hint="at least two classes are required",
        )
    return Labels(found.values.astype(np.int64), found.names, found.told)


def _is_one_hot(targets: np.ndarray) -> bool:
    if targets.ndim != 2 or targets.shape[1] < 2 or targets.dtype.kind not in "biuf":
        return False
    return bool((((targets == 0) | (targets == 1)).all(1) & ((targets == 1).sum(1) == 1)).all())


def _from_strings(targets: np.ndarray, names: tuple[str, ...]) -> Labels:
    found, values = np.unique(targets, return_inverse=True)
    words = _words(found, "targets")
    if names and set(words) - set(names):
        strange = sorted(set(words) - set(names))[:5]
        raise TunerError(
            f"names lacks targets: {', '.join(strange)}", hint="name all of them, or omit names"
        )
    place = {name: row for row, name in enumerate(names or words)}
    order = np.array([place[word] for word in words])
    return Labels(order[values], names or words)


def _from_integers(targets: np.ndarray, names: tuple[str, ...]) -> Labels:
    low, high = int(targets.min()), int(targets.max())
    if low < 0:
        raise TunerError(
            f"targets from {low} to {high}: classes must not be negative",
            hint=f"if {low} means that there is no label, keep only images[targets >= "
            "0] and targets[targets >= 0]; else use targets - "
            "targets.min()",
        )
    if high >= MOST_CLASSES:
        raise TunerError(
            f"targets up to {high}, but at most {MOST_CLASSES:,} classes are possible",
            hint="was a negative number cast to unsigned? For regression, save floats",
        )
    if names:
        return Labels(targets, _named(names, high + 1))
    found, values = np.unique(targets, return_inverse=True)
    words = tuple(str(int(number)) for number in found)
    is_plain = high + 1 == len(found)
    return Labels(
        values, words, "" if is_plain else f"numbers from {low} to {high}, converted to classes"
    )


def _words(array: np.ndarray, what: str) -> tuple[str, ...]:
    """Return names as Python strings.

    Raises:
        TunerError: They are not strings, not UTF-8, empty or repeated.
    """
    if array.ndim != 1 or array.dtype.kind not in "USiu":
        raise TunerError(
            f"{what} {array.dtype}{list(array.shape)}",
            hint="use np.array([…]) of strings, one for each",
        )
    is_bytes = array.dtype.kind == "S"
    try:
        text = np.char.decode(array, "utf-8") if is_bytes else array.astype(str)
        words = tuple(text.tolist())
        "".join(words).encode()
    except UnicodeError as error:
        raise TunerError(
            f"{what} are not UTF-8", hint=f"np.char.decode({what}, 'latin-1')"
        ) from error
    if "" in words or len(set(words)) < len(words):
        raise TunerError(
            f"{what} contain an empty or a repeated string",
            hint="use a different name for each class; remove images without a class",
        )
    return words


def _numbers(targets: np.ndarray, names: tuple[str, ...]) -> Labels:
    with np.errstate(over="ignore"):
        values = targets.astype(np.float32).reshape(len(targets), -1)
    if not np.isfinite(values).all():
        wrong = int((~np.isfinite(values)).sum())
        raise TunerError(
            f"float targets must be finite as float32; {wrong:,} are not",
            hint="remove these images, or scale the targets",
        )
    whole = (values == values.round()).all()
    told = "whole numbers stored as floats: regression; targets.astype(int) makes classes"
    return Labels(values, _named(names, values.shape[1], exactly=True), told if whole else "")


def _named(names: tuple[str, ...], count: int, *, exactly: bool = False) -> tuple[str, ...]:
    """Return the given names, or numbers from 0 on."""
    if names and (len(names) < count or (exactly and len(names) > count)):
        off_by_one = not exactly and len(names) == count - 1
        hint = "if targets count from 1: targets - 1" if off_by_one else "name each, or omit names"
        raise TunerError(f"{len(names)} names for {count} classes or numbers", hint=hint)
    return names or tuple(map(str, range(count)))
