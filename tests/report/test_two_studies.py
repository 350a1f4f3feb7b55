"""Two studies compared: what they reached at equal cost, and in what they differ."""

import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.samples import HOSTILE, NOW, C, P, R, add, full_study, new_study
from tuner.report.analysis import two_studies
from tuner.report.html.comparison import page
from tuner.report.summary import Summary, summarise
from tuner.report.terminal.comparison import side_by_side
from tuner.report.terminal.screen import Screen


def made(directory: Path, name: str, values: list[float], **attrs: object) -> Summary:
    """A study with a configuration of two epochs and ten seconds for each value, in a row."""
    study = new_study(directory, name)
    for key, value in attrs.items():
        study.set_user_attr(key, value)
    for k, value in enumerate(values):
        params = {"model.width": 16 + k}
        add(study, C, [value / 2, value], params=params, start=10 * k, seconds=10)
    return summarise(study, now=NOW)


def drawn(one: Summary, other: Summary, width: int = 80) -> str:
    screen = Screen(markup=False, emoji=False)
    screen.file, screen.width = io.StringIO(), width
    screen.print(side_by_side(one, other))
    return str(screen.file.getvalue())


def figures(text: str) -> dict[str, dict[str, object]]:
    found = re.search(r'id="figures">(.*?)</script>', text)
    assert found
    return {key: value for key, value in json.loads(found[1]).items()}


def test_the_best_so_far_grows_with_the_cost(tmp_path: Path):
    found = made(tmp_path, "a", [0.5, 0.4, 0.75])
    hour = 10 / 3600
    steps = two_studies.progress(found)
    assert [(step.epochs, step.best, step.number) for step in steps] == [
        (2, 0.5, 0), (4, 0.5, 1), (6, 0.75, 2),
    ]  # fmt: skip
    assert [step.hours for step in steps] == pytest.approx([hour, 2 * hour, 3 * hour])


def test_pruned_ones_cost_but_are_no_best_and_running_ones_are_not_counted(tmp_path: Path):
    study = new_study(tmp_path)
    add(study, C, [0.5], start=5, seconds=5)
    add(study, P, [0.9, 0.9, 0.9], start=0, seconds=5)
    add(study, R, [0.95], start=0)
    found = two_studies.progress(summarise(study, now=NOW))
    assert [(step.epochs, step.best, step.number) for step in found] == [(3, None, 1), (4, 0.5, 0)]


def test_at_equal_cost_the_longer_study_is_cut(tmp_path: Path):
    one, other = made(tmp_path, "a", [0.5]), made(tmp_path, "b", [0.4, 0.75])
    rows = {name: cells for name, *cells in two_studies.overview(one, other)}
    assert rows["best"] == ["0.5 (#0)", "0.75 (#1)"]
    assert rows["best after 2 epochs"] == ["0.5", "0.4"]
    assert rows["best after 10 s of device time"] == ["0.5", "0.4"]
    assert rows["device time"] == ["10 s", "20 s"]


def test_studies_of_other_metrics_are_not_drawn_together(tmp_path: Path):
    one, other = made(tmp_path, "a", [0.5]), made(tmp_path, "b", [0.4], metric="loss")
    assert not two_studies.comparable(one, other)
    assert not [row for row in two_studies.overview(one, other) if row[0].startswith("best after")]
    assert "differ in metric or direction" in page(one, other)
    assert figures(page(one, other)) == {}


def test_what_differs_is_told_by_topic(tmp_path: Path):
    space = [{"name": "model.width", "distribution": "int 8 to 24", "condition": ""}]
    one = made(tmp_path, "a", [0.5, 0.6])
    other = made(
        tmp_path, "b", [0.6], space=space, config="seed: 8\nmodel:\n  width: 32\n",
        budget={"n_trials": 8, "hours": 2.0}, search="sampler: {x: 1}", git_commit="a" * 40,
        versions={"torch": "2"},
    )  # fmt: skip
    found = two_studies.differences(one, other)
    assert found["budget"] == [("study.n_trials", "24", "8"), ("budget.hours", "-", "2")]
    assert found["settings"] == [("seed", "7", "8")]
    ((before, after),) = ((a, b) for name, a, b in found["space"] if name == "model.width")
    assert (before.partition("(")[0], after) == ("IntDistribution", "int 8 to 24")
    assert found["sampler and pruner"] == [("sampler.x", "-", "1")]
    assert found["code"] == [("git commit", "-", "a" * 10), ("torch", "-", "2")]
    assert found["best configuration"] == [("model.width", "17", "16")]
    same = two_studies.differences(one, made(tmp_path, "c", [0.5, 0.6]))
    assert same == {}
    assert "no differences in settings" in drawn(one, one)


def test_a_stored_configuration_that_is_no_plain_yaml_is_said_to_be_unreadable(tmp_path: Path):
    one, other = made(tmp_path, "a", [0.5]), made(tmp_path, "b", [0.5], config="a: !!python/x 1")
    (topic,) = two_studies.differences(one, other).values()
    assert any("cannot be read" in cell for row in topic for cell in row)


@pytest.mark.parametrize("width", [80, 160])
def test_a_terminal_gets_both_side_by_side(tmp_path: Path, width: int):
    full = summarise(full_study(tmp_path), now=NOW)
    other = made(tmp_path, "b\x1b[2J", [0.5], metric="val_accuracy", config="a: \x1b")
    said = drawn(full, other, width)
    assert all(len(line) <= width for line in said.splitlines())
    assert all(c.isprintable() or c == "\n" for c in said)
    assert "differs in settings" in said
    assert "digits" in said.splitlines()[0]


def test_the_page_draws_both_by_epochs_and_by_time(tmp_path: Path):
    one, other = made(tmp_path, "a", [0.5, 0.6]), made(tmp_path, "b", [0.6])
    text = page(one, other)
    HTMLParser().feed(text)
    drawn_by = figures(text)
    assert list(drawn_by) == ["plot-epochs", "plot-time"]
    for shape in drawn_by.values():
        assert [trace["name"] for trace in shape["data"]] == ["a", "b"]  # type: ignore[union-attr]
    assert "Differences" in text


def test_the_page_escapes_what_strangers_have_written(tmp_path: Path):
    one = made(tmp_path, HOSTILE[:60], [0.5], config=f"a: '{HOSTILE.replace(chr(39), '')}'")
    text = page(one, made(tmp_path, "b", [0.5], versions={HOSTILE: HOSTILE}))
    assert "<script>window" not in text
    assert "<img src=x" not in text
    assert html.escape("<script>window.owned=1</script>") in text
