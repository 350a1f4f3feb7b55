"""The trials of a study: selected, sorted, and as data for programs."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.samples import NOW, C, add, full_study, new_study
from tuner.cli import options
from tuner.errors import ConfigError
from tuner.report import formatting, trial_table
from tuner.report.commands import UNKNOWN
from tuner.report.configurations import STATES
from tuner.report.summary import Summary, summarise


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return summarise(full_study(tmp_path_factory.mktemp("study")), now=NOW)


def numbers(found: Summary, *states: str, sort: str = "number", reverse: bool = False) -> list[int]:
    return [row.number for row in trial_table.select(found, states, sort, reverse=reverse)]


def test_states_are_filtered_and_may_be_several(found: Summary):
    assert numbers(found) == [row.number for row in found.rows]
    kept = trial_table.select(found, ["failed", "infeasible"])
    assert {row.state for row in kept} == {"failed", "infeasible"}
    assert numbers(found, "queued") == [29]


def test_the_best_come_first_whatever_has_no_value_last(found: Summary):
    best = [row.number for row in found.ranking]
    assert numbers(found, "complete", sort="value") == best
    assert numbers(found, "complete", sort="val_accuracy") == best
    assert numbers(found, "complete", sort="value", reverse=True) != best
    for reverse in (False, True):
        assert numbers(found, sort="value", reverse=reverse)[-1] in (27, 28, 29)


@pytest.mark.parametrize("sort", ["state", "epochs", "seconds", "finished", "val_loss"])
def test_each_column_sorts_in_both_ways(found: Summary, sort: str):
    known = [row for row in found.rows if trial_table._key(found, sort)(row) is not None]
    key = trial_table._key(found, sort)
    up = trial_table.select(found, (), sort)[: len(known)]
    down = trial_table.select(found, (), sort, reverse=True)[: len(known)]
    assert [key(row) for row in up] == sorted(map(key, known))
    assert [key(row) for row in down] == sorted(map(key, known), reverse=True)


def test_a_setting_sorts_by_its_key_or_its_last_part(found: Summary):
    rows = trial_table.select(found, (), "lr")
    assert [row.number for row in rows] == numbers(found, sort="optimizer.lr")
    rates = [row.settings["optimizer.lr"] for row in rows if row.settings]
    assert rates == sorted(rates)
    numbers(found, sort="loss.weights")  # words and None
    numbers(found, sort="model.norm")


def test_a_column_that_is_not_there_is_answered_with_the_nearest(found: Summary):
    with pytest.raises(ConfigError, match="--sort: no column 'vale'; hint: did you mean 'value'"):
        numbers(found, sort="vale")


def test_records_are_json_and_csv_with_every_digit(found: Summary, tmp_path: Path):
    records = [trial_table.record(found, row, tmp_path, UNKNOWN.known) for row in found.rows]
    read = json.loads(formatting.as_json(records))
    assert [row["number"] for row in read] == numbers(found)
    assert read[0]["params"]["optimizer.lr"] == 1e-3
    table = list(csv.DictReader(io.StringIO(trial_table.as_csv(records))))
    assert [int(row["number"]) for row in table] == numbers(found)
    assert float(table[2]["value"]) == found.rows[2].value
    assert table[0]["params.loss.weights"] == "balanced"
    assert table[1]["params.loss.weights"] == "null"
    assert (table[0]["params.model.norm"], table[0]["metrics.val_loss"]) == ("true", "0.1")
    assert [row["reason"] for row in table[25:27]] == ["diverged", "ValueError: bad shape"]


def test_files_are_named_only_where_they_are_and_below_the_studys_directory(tmp_path: Path):
    study = new_study(tmp_path)
    mine, other = "00000-01234567", "00001-01234567"
    for stored in (f"elsewhere/{mine}", str(tmp_path / "other" / "trials" / other), "..", 7):
        add(study, C, [0.5], run_dir=stored)
    for directory, name in (("runs", mine), ("other", other)):
        (tmp_path / directory / "trials" / name).mkdir(parents=True)
        (tmp_path / directory / "trials" / name / "checkpoint.pt").touch()
    found = [trial_table.files(row, tmp_path / "runs") for row in summarise(study).rows]
    run_dir = tmp_path / "runs" / "trials" / mine
    nothing = {"run_dir": None, "checkpoint": None}
    known = {"run_dir": str(run_dir), "checkpoint": str(run_dir / "checkpoint.pt")}
    assert found == [known, nothing, nothing, nothing]


def test_the_command_line_knows_all_states():
    assert options.STATES == STATES


def test_a_study_without_trials_has_an_empty_table(tmp_path: Path):
    found = summarise(new_study(tmp_path))
    assert trial_table.select(found, (), "value") == []
    assert trial_table.as_csv([]).startswith("number,state,value")
