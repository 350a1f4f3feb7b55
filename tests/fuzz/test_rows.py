"""Rows that others have written to the database: shown, left out or refused, and never obeyed."""

import functools
import io
import itertools
import json
import pickle
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import IntDistribution, distribution_to_json
from optuna.trial import TrialState, create_trial
from rich.console import RenderableType

from tests.databases import sqlite
from tests.fuzz import canary
from tests.fuzz.harness import JSON, examples, harmless, outcome
from tests.storage.test_attributes import PLANTED
from tests.study.test_vetting import PLANTED as WORDS
from tuner.config.composition import Source
from tuner.report import configurations, summary, trial_table
from tuner.report.analysis import two_studies
from tuner.report.reproduce import Repeats
from tuner.report.terminal import screen, status, trials
from tuner.report.terminal.comparison import side_by_side
from tuner.report.write import write_page
from tuner.storage import attributes
from tuner.storage import database as storages
from tuner.study import administration, create, disk, limits, plan, study, vetting
from tuner.worker.proposal import Proposer

ASKED = ["study.name=x", "space=none", "model.width=int(interval(8,64))", "trainer.epochs=1"]
SAMPLERS = st.sampled_from(["tpe", "cmaes", "random", "grid"])
PICKLE = pickle.dumps(canary.Pickled()).hex()
TEXT = st.one_of(
    JSON.map(json.dumps),
    st.sampled_from([json.dumps([word]) for word in WORDS]),
    st.sampled_from([json.dumps(PICKLE), '"', "{", "[" * 9999, "1e999", "NaN", "-Infinity", ""]),
    st.text(max_size=12),
)
NAMES = st.sampled_from(["model.width", "optimizer", "--app=evil.py", "model._target_", "", "\x1b"])
LABELS = {
    table: st.sampled_from(sorted(planted)) for table, planted in PLANTED.items()
}  # fmt: skip
SYSTEM = LABELS["trial_system_attributes"] | st.sampled_from(
    ["cma:optimizer:0", "cma:0", "tpe:relative_params:0", "completed_rung_0", "artifacts:x"]
)
KINDS = st.sampled_from([
    distribution_to_json(IntDistribution(8, 64)), distribution_to_json(IntDistribution(1, 9)),
    '{"name": "CategoricalDistribution", "attributes": {"choices": ["a", {"_target_": "x"}]}}',
    '{"name": "FloatDistribution", "attributes": {"low": -1e308, "high": 1e308, "log": false}}',
    '{"name": "IntDistribution", "attributes": {"low": 9, "high": 1}}',
]) | TEXT  # fmt: skip
NUMBERS = st.none() | st.floats(allow_nan=False) | st.sampled_from([1e308, -1e308, 0.0, 16.0, 7.5])
WHOLE = st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 5)
TIMES = st.none() | st.datetimes().map(str) | st.just("2026-01-01 12:00:00.000000")
STATES = st.sampled_from(["COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"])
REAL = st.sampled_from(["FINITE", "INF_POS", "INF_NEG"])
TRIAL = st.integers(1, 6)
OWNER = st.integers(1, 2)
"""Ids, the last of which no row has."""

COLUMNS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "trials": {
        "number": WHOLE, "state": STATES, "datetime_start": TIMES, "datetime_complete": TIMES,
    },
    "trial_values": {"trial_id": TRIAL, "objective": WHOLE, "value": NUMBERS, "value_type": REAL},
    "trial_intermediate_values": {
        "trial_id": TRIAL, "step": WHOLE, "intermediate_value": NUMBERS,
        "intermediate_value_type": REAL | st.just("NAN"),
    },
    "trial_params": {
        "trial_id": TRIAL, "param_name": NAMES, "param_value": NUMBERS, "distribution_json": KINDS,
    },
    "trial_user_attributes": {
        "trial_id": TRIAL, "key": LABELS["trial_user_attributes"], "value_json": TEXT,
    },
    "trial_system_attributes": {"trial_id": TRIAL, "key": SYSTEM, "value_json": TEXT},
    "study_user_attributes": {
        "study_id": OWNER, "key": LABELS["study_user_attributes"], "value_json": TEXT,
    },
    "study_system_attributes": {
        "study_id": OWNER, "key": LABELS["study_system_attributes"], "value_json": TEXT,
    },
    "studies": {"study_name": st.text(max_size=9) | st.sampled_from(["../x", "\x1b", "\u202e"])},
    "study_directions": {
        "study_id": OWNER, "objective": WHOLE,
        "direction": st.sampled_from(["MINIMIZE", "MAXIMIZE", "NOT_SET"]),
    },
    "tuner_workers": {
        "id": st.text(max_size=9), "study_id": st.integers(1, 2), "host": st.text(max_size=9),
        "pid": WHOLE, "device": st.text(max_size=9), "started": NUMBERS, "beat": NUMBERS,
        "trial_id": st.none() | TRIAL, "trial_number": st.none() | WHOLE,
    },
    "tuner_clocks": {
        "study_id": OWNER, "name": st.text(max_size=9), "seconds": NUMBERS, "touched": NUMBERS,
    },
}  # fmt: skip
"""Table → column → what any database would take there."""
CELLS = st.sampled_from(sorted(COLUMNS)).flatmap(
    lambda table: st.tuples(
        st.just(table),
        st.booleans(),
        st.fixed_dictionaries({}, optional=COLUMNS[table]) | st.fixed_dictionaries(COLUMNS[table]),
        st.none() | st.integers(1, 5),
    )
)
"""A table, whether a row is added, what of it is set, and where."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A study of the command with trials in every state."""
    path = tmp_path_factory.mktemp("rows") / "whole.db"
    opened = create.open_study(asked_of(path))
    opened.join("lost", "cpu")
    for number, state in enumerate(TrialState):
        done = state in (TrialState.COMPLETE, TrialState.PRUNED)
        trial = create_trial(
            state=state, value=0.5 if done else None, params={"model.width": 16},
            distributions={"model.width": IntDistribution(8, 64)}, intermediate_values={1: 0.5},
            user_attrs={"overrides": ["trainer.epochs=1", "model.width=16", f"seed={number}"]},
        )  # fmt: skip
        opened.storage.create_new_trial(opened.id, trial)
    opened.storage.close()
    yield path
    shutil.rmtree(path.parent)


def written(path: Path, cells: list[Any]) -> None:
    """The rows as somebody with a client of the database would write them."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, added, values, at in cells:
            if not values:
                continue
            names, marks = ", ".join(values), ", ".join("?" * len(values))
            statement = f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})"
            if not added:
                pairs = ", ".join(f"{name} = ?" for name in values)
                where = "" if at is None else f" WHERE rowid = {int(at)}"
                statement = f"UPDATE OR REPLACE {table} SET {pairs}{where}"
            with suppress(sqlite3.IntegrityError, UnicodeEncodeError):
                connection.execute(statement, list(values.values()))


def asked_of(path: Path, *words: str) -> plan.Plan:
    return plan.load(Source(), [*ASKED, f"storage.url=sqlite:///{path}", *words], validate=False)


def shown(asked: plan.Plan, output: Path) -> str:
    """All that is said of a study, the page included."""
    found = study.load(asked.storage.url, "x", grace=60, patience=0)
    try:
        repeats, look, budget = Repeats(asked), status.summary_of(found), status.budget_of(found)
        told = [status.as_json(look, budget, found.ended(budget), repeats.known)]
        best = summary.summarise(found.optuna)
        told += [str(configurations.as_data(row, repeats.known)) for row in best.ranking]
        write_page(found.optuna, output.with_suffix(".md"), None, "md", look, repeats)
        told += [str(disk.held(found, output.parent)), str(two_studies.differences(look, look))]
        records = [trial_table.record(look, row, output.parent, repeats.known) for row in look.rows]
        told += [trial_table.as_csv(records), drawn(trials.table(look, look.rows))]
        told += [drawn(trials.details(look, row, output.parent, "")) for row in look.rows]
        told += [drawn(side_by_side(look, look)), str(two_studies.progress(look))]
        return "\n".join([*told, output.with_suffix(".md").read_text()])
    finally:
        found.storage.close()


def drawn(shown: RenderableType) -> str:
    """What a terminal gets."""
    terminal = screen.console()
    terminal.file = io.StringIO()
    terminal.print(shown)
    said = str(terminal.file.getvalue())
    assert all(c.isprintable() or c == "\n" for c in said)
    return said


def administered(path: Path) -> None:
    """Copy a study, and rename and delete it; what cannot be copied leaves nothing."""
    source = storages.connect(f"sqlite:///{path}")
    target = sqlite(path.with_suffix(".copy"))
    try:
        for name in study.names(source):
            _, refused = outcome(functools.partial(administration.copy, source, name, target))
            assert (name in study.names(target)) is not bool(refused)
            outcome(functools.partial(administration.rename, source, name, "new", grace=60))
        for name in study.names(source):
            outcome(functools.partial(administration.delete, source, name, grace=60))
    finally:
        source.close()
        target.close()


def searched(asked: plan.Plan) -> None:
    """What a worker does with what it is given, short of training."""
    found = create.open_study(asked)
    try:
        found.join("w", "cpu")
        for _ in range(2):
            trial_id = found.claim("w", budget=limits.budget(asked), max_retries=3)
            if trial_id is None:
                return
            trial = found.storage.get_trial(trial_id)
            if vetting.objections(asked.space, trial):
                found.set_aside(trial_id, "reason")
                continue
            drawn = Proposer(asked, found).open(trial_id)
            words = asked.space.suggest(drawn)
            assert all(word.startswith("model.width=") for word in words)
            drawn.report(0.5, 7)
            drawn.should_prune()
    finally:
        found.storage.close()


NUMBER = itertools.count()


@pytest.mark.filterwarnings("ignore:The distribution is specified by")
@examples(20)
@given(SAMPLERS, st.lists(CELLS, min_size=1, max_size=4))
def test_rows_of_anybody_are_shown_left_out_or_refused(
    database: Path, sampler: str, cells: list[Any]
) -> None:
    path = database.with_name(f"{next(NUMBER)}.db")
    shutil.copy(database, path)
    written(path, cells)
    attributes._told.clear()
    asked = asked_of(path, f"sampler={sampler}")
    with harmless((sampler, cells)):
        told, _ = outcome(lambda: shown(asked, path))
        outcome(lambda: searched(asked))
        assert canary.SECRET not in str(told)
    for left in database.parent.glob(f"{path.stem}.*"):
        left.unlink()


@examples(8)
@given(st.lists(CELLS, min_size=1, max_size=4))
def test_studies_of_anybody_are_copied_renamed_and_deleted_or_refused(
    database: Path, cells: list[Any]
) -> None:
    path = database.with_name(f"{next(NUMBER)}.db")
    shutil.copy(database, path)
    written(path, cells)
    with harmless(cells):
        outcome(lambda: administered(path))
    for left in database.parent.glob(f"{path.stem}.*"):
        left.unlink()
