"""Values are formatted for people and within their possible range."""

import pytest

from tuner.log import brief
from tuner.report.formatting import (
    MEANINGS,
    beside,
    duration,
    interval,
    legend,
    measured,
    metric,
    scattered,
    shorten,
    size,
)


def test_a_reason_in_brief_is_one_line_that_moves_no_cursor() -> None:
    assert brief("ValueError: a \n b\x1b[31m\x07 c", 40) == "ValueError: a b c"
    assert brief("é" * 9 + " and more", 12) == "é" * 9 + " …"


@pytest.mark.parametrize(
    ("name", "ends", "told"),
    [
        ("accuracy", (0.97, 1.03), "0.970 to 1.000"),
        ("val_auroc", (-0.2, 1.2), "0.00 to 1.00"),
        ("loss", (-0.5, 1.5), "0.0 to 1.5"),
        ("profit", (-0.5, 1.5), "-0.5 to 1.5"),
        ("profit", (0.012345678, 0.012345912), "1.23e-02 to 1.23e-02"),
    ],
)
def test_an_interval_ends_where_the_metric_does(
    name: str, ends: tuple[float, float], told: str
) -> None:
    assert interval(name, ends) == told


@pytest.mark.parametrize(
    ("value", "ends", "told"),
    [
        (0.123456, (0.112345, 0.134567), "0.123"),
        (0.123456, (0.0, 0.2), "0.12"),
        (-0.0001, (-0.1, 0.1), "0.00"),
        (1234.5, (1000.0, 1400.0), "1234"),
        (0.123456, None, "0.12346"),
        (0.123456, (0.1, 0.1), "0.12346"),
    ],
)
def test_digits_end_where_the_noise_begins(
    value: float, ends: tuple[float, float] | None, told: str
) -> None:
    assert measured(value, ends) == told


def test_a_difference_has_no_more_decimals_than_its_scores() -> None:
    assert beside(0.0055556, 0.96944) == "0.00556"
    assert beside(0.1, 0.8) == "0.1"
    assert beside(3.14159, 123.4) == "3.14"
    assert beside(0.123456, 0.0) == "0.12346"


def test_a_mean_and_its_deviation_have_the_digits_of_the_interval() -> None:
    assert scattered(0.966667, 0.0055, (0.953, 0.9803)) == "0.967 ± 0.005"
    assert scattered(0.966667, 0.00123, (0.9636, 0.9697)) == "0.9667 ± 0.0012"
    assert scattered(12.0, 3.0, (4.5, 19.5)) == "12.0 ± 3.0"


def test_only_states_that_occur_are_explained() -> None:
    assert legend({"complete": 3, "pruned": 0}) == ""
    assert legend({"pruned": 1, "infeasible": 2}) == (
        f"pruned: {MEANINGS['pruned']}; infeasible: {MEANINGS['infeasible']}"
    )


def test_counts_are_written_out_and_days_are_days() -> None:
    assert [metric(v) for v in (129600.0, 0.123456, 12345.6, 1e13)] == [
        "129600", "0.12346", "12346", "1e+13",
    ]  # fmt: skip
    assert [duration(s) for s in (9.96, 59.4, 245, 7445, 47 * 3600, 76 * 3600)] == [
        "10.0 s", "59 s", "4:05", "2:04:05", "47:00:00", "3 d 4 h",
    ]  # fmt: skip


def test_a_long_name_keeps_both_of_its_ends() -> None:
    assert shorten("short", 14) == "short"
    assert shorten("efficientnet_v2_s_pretrained", 14) == "efficie…rained"


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 B"), (999, "999 B"), (2500, "2.5 kB"), (10**12, "1 TB")]
)
def test_sizes_have_three_digits(count: int, told: str):
    assert size(count) == told
