"""Drawings are well-formed SVG for any text and numbers."""

import math
import re
from xml.etree import ElementTree

import pytest

from tuner.svg import confusion_svg, curves_svg

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert(1)</script>&\"'\x00\x1b[31m"


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_a_curve_has_one_dot_a_point_and_rises_upwards() -> None:
    root = ElementTree.fromstring(curves_svg({"acc": {1: 0.5, 2: 0.7, 3: 0.9}}, title="t"))
    heights = [float(dot.get("cy", "")) for dot in root.iter(f"{SVG}circle")]
    assert len(heights) == 3
    assert heights == sorted(heights, reverse=True)


def test_a_curve_stays_inside_its_drawing() -> None:
    root = ElementTree.fromstring(
        curves_svg({"loss": {k: (-1.0) ** k * 10.0**k for k in range(40)}}, title="t")
    )
    for dot in root.iter(f"{SVG}circle"):
        assert 60 <= float(dot.get("cx", "")) <= 620
        assert 65.9 <= float(dot.get("cy", "")) <= 306.1


@pytest.mark.parametrize("points", [{}, {1: math.nan}, {3: math.inf}])
def test_a_curve_without_finite_points_says_so(points: dict[int, float]) -> None:
    assert "nothing reported" in texts(curves_svg({"y": points}, title="t"))


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e-300, 1e300])
def test_a_single_point_is_drawn(value: float) -> None:
    root = ElementTree.fromstring(curves_svg({"y": {7: value}}, title="t"))
    assert len(list(root.iter(f"{SVG}circle"))) == 1


def test_points_that_are_not_finite_are_left_out() -> None:
    svg = curves_svg({"y": {1: 0.1, 2: math.nan, 3: 0.3}}, title="t")
    assert len(re.findall("<circle", svg)) == 2
    assert "nan" not in svg


def test_a_long_curve_needs_few_marks_and_few_ticks() -> None:
    svg = curves_svg({"y": {k: 1.0 / k for k in range(1, 501)}}, title="t")
    assert svg.count("<circle") == 1
    assert len(texts(svg)) < 25


def test_each_metric_has_a_panel_and_the_training_one_is_dashed_beside_it() -> None:
    curve = {1: 0.5, 2: 0.25}
    metrics = {
        "accuracy": curve,
        "loss": curve,
        "train_loss": curve,
        "macro_f1": curve,
        "x": {1: math.nan},
    }
    svg = curves_svg(metrics, title="t")
    assert {"accuracy", "loss (dashed: training)", "macro_f1"} <= set(texts(svg))
    assert svg.count('class="line"') == 3
    assert svg.count('class="line dashed"') == 1
    height = float(ElementTree.fromstring(svg).get("height", ""))
    lowest = max(
        float(node.get("y", "")) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")
    )
    assert lowest < height < lowest + 40


def test_text_is_escaped() -> None:
    for svg in (
        curves_svg({HOSTILE: {1: 1.0}}, title=HOSTILE),
        confusion_svg([[1, 0], [0, 1]], [HOSTILE, "b"]),
    ):
        assert "<script" not in svg
        assert not list(ElementTree.fromstring(svg).iter(f"{SVG}script"))


def test_confusion_shows_counts_and_class_names() -> None:
    shown = texts(confusion_svg([[8, 2], [0, 5]], ["cat", "dog"]))
    assert {"8", "2", "5"} <= set(shown)
    assert "0" not in shown
    assert shown.count("cat") == 2


def test_confusion_is_shaded_by_share_of_the_row() -> None:
    svg = confusion_svg([[900, 100], [1, 9]], ["common", "rare"])
    assert re.findall(r'fill-opacity="([\d.]+)"', svg) == ["0.91", "0.17", "0.17", "0.91"]


def test_a_hundred_classes_are_drawn_without_numbers() -> None:
    size = 100
    counts = [[5 if i == j else 0 for j in range(size)] for i in range(size)]
    svg = confusion_svg(counts, [f"class {i}" for i in range(size)])
    assert "5" not in texts(svg)
    assert svg.count('class="cell"') == size
    assert sum(name.startswith("class") for name in texts(svg)) < size


def test_a_class_without_examples_is_an_empty_row() -> None:
    assert confusion_svg([[0, 0], [0, 3]], ["a", "b"]).count('class="cell"') == 1


@pytest.mark.parametrize("counts", [[[1]], [[1, 2], [3]], []])
def test_a_matrix_that_does_not_match_its_classes_is_refused(counts: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="2 classes need 2 rows of 2 counts"):
        confusion_svg(counts, ["a", "b"])
