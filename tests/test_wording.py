"""Values read as people write them, and within what they can be."""

import pytest

from tuner.report.wording import interval


@pytest.mark.parametrize(
    ("name", "ends", "told"),
    [
        ("accuracy", (0.97, 1.03), "0.97 to 1"),
        ("val_auroc", (-0.2, 1.2), "0 to 1"),
        ("loss", (-0.5, 1.5), "0 to 1.5"),
        ("profit", (-0.5, 1.5), "-0.5 to 1.5"),
    ],
)
def test_an_interval_ends_where_the_metric_does(
    name: str, ends: tuple[float, float], told: str
) -> None:
    assert interval(name, ends) == told
