"""The text of ``tuner check`` fits into a terminal and is complete without one."""

import pytest

from tuner.report.terminal import check
from tuner.report.terminal.screen import UNCUT
from tuner.study import plan


@pytest.fixture(scope="module")
def planned(source):
    return plan.load(source, ()).require()


def test_no_line_is_wider_than_the_terminal(planned):
    text = check.as_text(planned, "2 workers on the CPU", 80)
    assert max(map(len, text.splitlines())) <= 80
    uncut = check.as_text(planned, "2 workers on the CPU", UNCUT)
    assert sorted(text.replace("-", "").split()) == sorted(uncut.replace("-", "").split())


def test_outside_of_a_terminal_each_parameter_and_fact_has_one_line(planned):
    space, run = check.as_text(planned, "2 workers on the CPU", UNCUT).split("\n\nwould run:\n")
    assert len(space.splitlines()) == 2 + len(planned.space.rows())
    shown = run.partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in shown] == list(check.facts(planned, ""))
