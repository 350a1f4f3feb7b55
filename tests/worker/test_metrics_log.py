"""The metrics of a configuration's epochs survive its process."""

from pathlib import Path

from tuner.worker import metrics_log


def test_what_was_appended_is_read_by_step_and_by_metric(tmp_path: Path) -> None:
    metrics_log.append(tmp_path, 2, {"accuracy": 0.5, "loss": 1.0})
    metrics_log.append(tmp_path, 1, {"accuracy": 0.25})
    found = metrics_log.read(tmp_path)
    assert list(found.items()) == [(1, {"accuracy": 0.25}), (2, {"accuracy": 0.5, "loss": 1.0})]
    assert metrics_log.curves(found) == {"accuracy": {1: 0.25, 2: 0.5}, "loss": {2: 1.0}}


def test_a_step_reported_again_after_a_kill_replaces_the_first(tmp_path: Path) -> None:
    for value in (0.1, 0.2):
        metrics_log.append(tmp_path, 3, {"accuracy": value})
    assert metrics_log.read(tmp_path) == {3: {"accuracy": 0.2}}


def test_a_half_written_line_and_what_is_no_line_are_passed_over(tmp_path: Path) -> None:
    metrics_log.append(tmp_path, 1, {"accuracy": 0.1})
    with (tmp_path / metrics_log.FILE).open("a") as file:
        file.write('[1]\n{"accuracy": 1}\n\n{"step": 2, "accur')
    assert metrics_log.read(tmp_path) == {1: {"accuracy": 0.1}}


def test_nothing_was_kept(tmp_path: Path) -> None:
    assert metrics_log.read(tmp_path) == {}


def test_the_table_has_a_row_a_step_and_a_column_a_metric() -> None:
    kept = {1: {"loss": 1 / 3}, 2: {"loss": 0.25, "a,b": 2.0}}
    assert metrics_log.as_csv(kept) == 'step,loss,"a,b"\n1,0.333333,\n2,0.25,2\n'
