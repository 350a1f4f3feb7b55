"""Malformed attributes are dropped with a warning that names them, and cause no failure."""

import io
import json
import logging
import socket
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import IntDistribution, distribution_to_json
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console

from tuner import log
from tuner.algorithms.pruners import audit, score_error
from tuner.cli import main
from tuner.config.composition import Source
from tuner.errors import StorageLost
from tuner.report.terminal import status
from tuner.report.write import write_page
from tuner.storage import attributes
from tuner.storage.attributes import MALFORMED, TRIAL, TRIAL_SYSTEM
from tuner.storage.shapes import UNREADABLE, decoded
from tuner.study import attempts, create, fidelity, limits, next_trial, plan, seed_noise
from tuner.study.study import Study
from tuner.worker.proposal import Proposer
from tuner.worker.reporter import Context
from tuner.worker.trial import AttemptEnd, execute

C, W, R = TrialState.COMPLETE, TrialState.WAITING, TrialState.RUNNING
WORDS = ["study.name=x", "space=none", "model.width=int(interval(8,64))"]
ASKED = plan.load(Source(), WORDS, validate=False)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
TEXT = JSON.map(json.dumps) | st.text(max_size=20)
"""What may lie in a column of JSON."""


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> None:
    attributes._told.clear()


@pytest.mark.parametrize(
    "name",
    [
        attempts.FIRST, attempts.HISTORY, attempts.FIXED, attempts.REQUEUE, attempts.CRASHES,
        attempts.ORDINAL, next_trial.QUEUED, audit.AUDIT, seed_noise.REPEAT, fidelity.LENGTH,
        score_error.EXAMPLES,
    ],
)  # fmt: skip
def test_every_attribute_of_ours_has_a_shape(name: str) -> None:
    assert name in TRIAL_SYSTEM


@given(
    user=st.dictionaries(st.sampled_from([*TRIAL, "of another tool"]), TEXT),
    system=st.dictionaries(
        st.sampled_from([
            *TRIAL_SYSTEM, "completed_rung_0", "constraints:a", "artifacts:b", "cma:generation",
            "tpe:relative_params:0", "tpe:relative_params:1", MALFORMED,
        ]),
        TEXT,
    ),
)  # fmt: skip
@settings(max_examples=500, deadline=None)
def test_whatever_lies_in_a_trial_whoever_reads_it_can_rely_on_its_shapes(
    user: dict[str, str], system: dict[str, str]
) -> None:
    read = [{key: decoded(text) for key, text in part.items()} for part in (user, system)]
    own, noted = attributes.of_trial(7, *read)
    wrong = set(noted.get(MALFORMED, ()))
    assert {*own, *noted, *wrong} - {MALFORMED} == {*user, *system} - {MALFORMED}
    assert not wrong & {*own, *noted} - {MALFORMED}
    trial = create_trial(state=W, user_attrs=own, system_attrs=noted)
    assert attempts.first_number(trial) >= -1
    assert attempts.ordinal(trial) >= -1
    assert fidelity.length(trial) is None or fidelity.length(trial) > 0
    assert score_error.examples(trial) is None or score_error.examples(trial) > 0
    assert all(value == value for value in trial.constraints.values())
    assert not any(own.get(key) is UNREADABLE for key in own)
    attempts.following(trial, 0)


PLANTED: dict[str, dict[str, str]] = {
    "trial_user_attributes": {
        "overrides": '"x"', "metrics": "[1]", "facts": '{"a": []}', "reason": "7", "run_dir": "{}",
        "device": "null", "worker": "not JSON", "origin": "[", "traceback": "1e999", "mine": "{",
        "reason_kind": '"bored"', "reason_hint": "[]",
    },
    "trial_system_attributes": {
        "tuner:configuration": '"../../x"', "failed_trial": "-1", "retry_history": "[1e9]",
        "fixed_params": "[]", "tuner:crashes": "true", "tuner:length": "0", "tuner:queued": "3",
        "tuner:audit": '"x"', "tuner:repeat": "1.5", "constraints": "[NaN]", "grid_id": "7",
        "constraints:a": "NaN", "artifacts:a": '"{"', "cma:generation": '"x"',
    },
    "study_user_attributes": {
        "metric": "no JSON", "objectives": "[]", "constraints": '{"a": NaN}',
        "budget": '{"epochs": "x"}', "command": '"--app=evil"', "overrides": "7",
        "versions": "[]", "git_commit": '"--output=x"', "prior": "{}", "n_trials": "-1",
    },
    "study_system_attributes": {"study:metric_names": "{}"},
}  # fmt: skip


def plant(opened: Study, table: str, of: int, planted: dict[str, str]) -> None:
    """By hand, as somebody with a database client would."""
    column = "trial_id" if table.startswith("trial") else "study_id"
    at = f"{table} WHERE {column} = :of AND key = :key"
    insert = f"INSERT INTO {table} ({column}, key, value_json) VALUES (:of, :key, :text)"
    for key, text in planted.items():
        run(opened, f"DELETE FROM {at}", of=of, key=key)
        run(opened, insert, of=of, key=key, text=text)


def run(opened: Study, statement: str, **values: Any) -> None:
    with opened.storage.engine.begin() as connection:
        connection.execute(sa.text(statement), values)


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    return create.open_study(ASKED)


def add(opened: Study, state: TrialState, **more: Any) -> int:
    params = {"model.width": 16}
    trial = create_trial(
        state=state, params=params, distributions={"model.width": IntDistribution(8, 64)},
        user_attrs={"overrides": ["model.width=16", "seed=3"]}, **more,
    )  # fmt: skip
    return opened.storage.create_new_trial(opened.id, trial)


def harmed(opened: Study) -> Study:
    """Every attribute of a trial in each state, and of the study itself, is malformed."""
    for state in (C, R, W):
        trial_id = add(opened, state, **({"value": 0.5} if state == C else {}))
        for table in ("trial_user_attributes", "trial_system_attributes"):
            plant(opened, table, trial_id, PLANTED[table])
    add(opened, C, value=0.25)
    for table in ("study_user_attributes", "study_system_attributes"):
        plant(opened, table, opened.id, PLANTED[table])
    return opened


def test_each_malformed_attribute_is_named_once_and_left_out(
    opened: Study, caplog: pytest.LogCaptureFixture
) -> None:
    trials = harmed(opened).storage.get_all_trials(opened.id)
    opened.storage.get_trial(3)
    for table, who in (
        ("trial_user_attributes", "trial 0"),
        ("study_user_attributes", "study 'x'"),
    ):
        opened.storage.get_study_user_attrs(opened.id)
        for key in PLANTED[table]:
            told = [r for r in caplog.messages if r.startswith(f"{who}: its attribute {key} ")]
            assert len(told) == 1, key
    assert trials[0].user_attrs == {}
    assert set(trials[0].system_attrs) == {MALFORMED}
    assert trials[3].user_attrs == {"overrides": ["model.width=16", "seed=3"]}
    assert opened.attrs["uid"]
    assert "command" not in opened.attrs
    (known,) = opened.storage.get_all_studies()
    assert known.user_attrs == opened.attrs


DICTIONARY = '{"name": "CategoricalDistribution", "attributes": {"choices": ["a", {}]}}'


@pytest.mark.parametrize(
    "text", ["{", '{"name": "Evil"}', '{"type": "categorical"}', "null", "[]", DICTIONARY]
)
def test_a_parameter_without_a_distribution_is_left_out(
    opened: Study, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    trial_id = add(opened, W)
    run(opened, "UPDATE trial_params SET distribution_json = :text", text=text)
    trial = opened.storage.get_trial(trial_id)
    assert trial.params == {}
    assert trial.system_attrs[MALFORMED] == ["model.width"]
    assert "trial 0: its attribute model.width is malformed" in caplog.text


@pytest.mark.parametrize("name", [None, b"blob"])
def test_a_name_that_is_no_text_is_left_out(opened: Study, name: bytes | None) -> None:
    trial_id = add(opened, W)
    run(opened, "UPDATE trial_params SET param_name = :name", name=name)
    run(opened, "UPDATE trial_user_attributes SET key = :name", name=name)
    trial = opened.storage.get_trial(trial_id)
    assert trial.params == {}
    assert trial.user_attrs == {}
    assert set(trial.system_attrs[MALFORMED]) == {str(name)}


def test_a_command_that_looks_shows_the_rest(
    opened: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", *WORDS]) == 0
    harmed(opened)
    assert main(["status", "--all", *WORDS]) == 0
    out, err = capsys.readouterr()
    assert "2 complete, 1 running, 1 queued" in out
    assert "study 'x': its attribute metric is malformed and ignored: no JSON" in err
    assert "trial 0: its attribute overrides is malformed and ignored: 'x'" in err
    found = status.summary_of(opened)
    budget = status.budget_of(opened)
    assert json.loads(status.as_json(found, budget, opened.ended(budget)))["best"]["value"] == 0.5
    Console(file=io.StringIO()).print(status.as_picture(found, budget, None, width=80))
    for form in ("html", "md"):
        assert write_page(opened.optuna, tmp_path / f"a.{form}", form=form, summary=found)


def test_a_study_that_lacks_what_each_has_is_refused(opened: Study) -> None:
    plant(opened, "study_user_attributes", opened.id, {"metric": "no JSON"})
    with pytest.raises(create.StudyError, match=r"or is damaged: it has no metric"):
        create.open_study(ASKED)


def test_a_study_without_a_direction_is_damaged_and_the_others_are_shown(
    opened: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    opened.storage.create_new_study(opened.optuna.directions, "another")
    run(opened, "DELETE FROM study_directions WHERE study_id = :of", of=opened.id)
    assert main(["status", *WORDS]) == 2
    assert "study.name: 'x' is damaged: it has no direction; hint: " in capsys.readouterr().err
    assert main(["status", "--all", *WORDS]) == 0
    out, err = capsys.readouterr()
    assert "another" in out
    assert "'x' is damaged" in err


@pytest.mark.parametrize(
    "cell",
    [
        "trials SET number = 'x'", "trials SET state = 'x'", "trials SET datetime_start = 'x'",
        "trial_values SET value = 'x'", "trial_intermediate_values SET step = 'x'",
    ],
)  # fmt: skip
def test_a_value_of_another_type_than_its_column_is_damage(
    opened: Study, cell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite stores it."""
    add(opened, C, value=0.5, intermediate_values={1: 0.5})
    run(opened, f"UPDATE {cell}")
    assert main(["status", *WORDS]) == 1
    assert "storage.url: a row of a trial is damaged (" in capsys.readouterr().err
    with pytest.raises(StorageLost, match="is damaged"):
        opened.storage.get_all_trials(opened.id)


def test_nor_is_a_trial_claimed_where_a_number_is_a_word(opened: Study) -> None:
    add(opened, C, value=0.5)
    run(opened, "UPDATE trials SET number = 'x'")
    opened.join("w", "cpu")
    with pytest.raises(StorageLost, match="is damaged"):
        opened.claim("w", budget=limits.budget(ASKED), max_retries=3)


def test_a_study_of_more_directions_than_objectives_is_damaged(opened: Study) -> None:
    run(opened, "INSERT INTO study_directions VALUES (9, 'MINIMIZE', :of, 1)", of=opened.id)
    with pytest.raises(create.StudyError, match=r"'x' is damaged: its objectives are"):
        create.open_study(ASKED)


@pytest.mark.parametrize(
    "config", ["a: &a [x]\nb: *a", "!!python/object/apply:os.system [evil]", "{", "a: [" * 5000]
)
def test_a_stored_configuration_is_read_as_plain_data(opened: Study, config: str) -> None:
    """Aliases of aliases would fill the memory, and a tag would be obeyed."""
    opened.storage.set_study_user_attr(opened.id, "config", config)
    with pytest.raises(create.StudyError, match=r"stored with the study cannot be read"):
        create.open_study(ASKED)


def context(opened: Study) -> Context:
    return Context(
        plan=ASKED, study=opened, proposer=Proposer(ASKED, opened), worker="w",
        host=socket.gethostname(), device=None, budget=limits.budget(ASKED),
        preempted=lambda: None, lost=lambda: False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("{system} (1, 'tuner:configuration', '\"../../x\"')", "tuner:configuration: is malformed"),
        (
            "{system} (1, 'fixed_params', '{{\"model.width\": 7}}')",
            "model.width=7: is not in int 8",
        ),
        ("{user} (1, 'metrics', '[1]')", "metrics: is malformed"),
        ("{param} (1, 'model.width', 16, '{{')", "model.width: is malformed"),
        ("{param} (1, 'model.width', 7, '{width}')", "model.width=7: is not in int 8 to 64"),
    ],
)
def test_a_queued_trial_that_is_malformed_is_set_aside_with_its_reason(
    opened: Study, statement: str, told: str
) -> None:
    """It is no failure of the objective's, and the worker goes on."""
    opened.storage.create_new_trial(opened.id, create_trial(state=W))
    named = {
        "user": "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES",
        "system": "INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES",
        "param": "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)"
        " VALUES",
        "width": distribution_to_json(IntDistribution(1, 64)),
    }
    with opened.storage.engine.begin() as connection:
        connection.exec_driver_sql(statement.format(**named))
    opened.join("w", "cpu")
    trial_id = opened.claim("w", budget=limits.budget(ASKED), max_retries=3)
    assert trial_id == 1
    assert execute(context(opened), trial_id) is AttemptEnd.FINISHED
    trial = opened.storage.get_trial(trial_id)
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["reason"].startswith(f"set aside: {told}")
    assert "; hint: " in trial.user_attrs["reason"]
    assert attempts.kind(trial) == "set_aside"


def test_a_lost_workers_trial_that_others_have_spoiled_ends_and_kills_no_worker(
    opened: Study,
) -> None:
    opened.join("lost", "cpu")
    trial_id = opened.claim("lost", budget=limits.budget(ASKED), max_retries=3)
    assert trial_id is not None
    opened.storage.set_trial_param(trial_id, "model.width", 16.0, IntDistribution(8, 64))
    run(opened, "UPDATE trial_params SET param_value = 1e6")
    plant(opened, "trial_system_attributes", trial_id, PLANTED["trial_system_attributes"])
    opened.expire("lost")
    opened.join("w", "cpu")
    assert opened.claim("w", budget=limits.budget(ASKED), max_retries=3) != trial_id
    spoiled: FrozenTrial = opened.storage.get_trial(trial_id)
    assert spoiled.state == TrialState.FAIL
    assert attempts.kind(spoiled) == "set_aside"


HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202ekcab\u2066\x00x"


@given(st.text(alphabet=st.characters(codec=None) | st.sampled_from(HOSTILE)))
@settings(max_examples=300)
def test_what_a_terminal_would_obey_is_written_out(text: str) -> None:
    shown = log.printable(text)
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    assert log.printable(shown) == shown


def test_no_text_of_a_row_reaches_a_terminal_raw(
    opened: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    trial_id = add(opened, C, value=0.5)
    plant(opened, "trial_user_attributes", trial_id, {
        "overrides": json.dumps([f"a={HOSTILE}"]), "device": json.dumps(HOSTILE),
        "metrics": json.dumps({HOSTILE: 1.0}), "mine": HOSTILE,
    })  # fmt: skip
    plant(opened, "study_user_attributes", opened.id, {"metric": json.dumps(HOSTILE)})
    opened.join(HOSTILE[:20], HOSTILE)
    opened.storage.create_new_study(opened.optuna.directions, HOSTILE)
    for command in ("status", "status --all", "best"):
        assert main([*command.split(), *WORDS]) == 0
    assert main(["status", "study.name=y", *WORDS[1:]]) == 2  # and is told which there are
    out, err = capsys.readouterr()
    for text in (out, err):
        assert "owned" in text
        assert all(c.isprintable() or c in "\n\t" for c in text)


def test_names_that_look_like_markup_of_rich_are_shown_as_they_are(
    opened: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    add(opened, R)
    plant(opened, "study_user_attributes", opened.id, {"metric": '"[/x] [bold]:ok:"'})
    assert main(["status", *WORDS]) == 0
    assert " [/x] [bold]:ok:  " in capsys.readouterr().out


def test_an_exception_of_nobodys_is_told_without_what_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = logging.LogRecord("tuner", logging.ERROR, "", 0, "x %s", (HOSTILE,), None)
    assert log.Masked("%(message)s").format(record).isprintable()
