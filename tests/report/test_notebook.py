"""The view of a running study in a notebook."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.samples import new_study
from tuner.report.summary import summarise
from tuner.report.terminal import live
from tuner.report.terminal.screen import Screen


class Display:
    """The display of IPython: one output, and what it was replaced by."""

    def __init__(self) -> None:
        self.shown: list[list[str]] = []

    def HTML(self, text: str) -> str:
        return text

    def display(self, html: str, display_id: bool) -> Any:
        self.shown.append([html])
        return SimpleNamespace(update=self.shown[-1].append)


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Display:
    shown = Display()
    module = ModuleType("IPython.display")
    vars(module).update(HTML=shown.HTML, display=shown.display)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return shown


def test_one_output_of_the_cell_is_replaced(display, tmp_path):
    summary = summarise(new_study(tmp_path))
    console = Screen(force_jupyter=True)
    turns = iter([True, True, False])
    live.follow(
        lambda: summary, lambda: next(turns), console=console, n_trials=4, epochs=None, every=0
    )
    (pictures,) = display.shown
    assert len(pictures) > 1
    assert "0 of 4" in pictures[-1]
    assert "<script" not in pictures[-1]


def test_a_study_that_cannot_be_read_leaves_its_last_picture(display, tmp_path):
    view = live.Notebook(n_trials=4, epochs=None)
    view.show(summarise(new_study(tmp_path)))
    view.away("<the server is away>")
    (pictures,) = display.shown
    assert "0 of 4" in pictures[1]
    assert "cannot be read at present: &lt;the server is away&gt;" in pictures[1]
