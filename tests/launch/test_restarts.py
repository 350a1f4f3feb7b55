"""When a dead worker is started again."""

from pathlib import Path

import pytest

from tuner.launch import restarts
from tuner.launch.restarts import FATAL, RestartPolicy


def test_the_pause_doubles_to_a_bound_and_begins_anew_after_a_long_life(monkeypatch):
    """A worker that dies once an hour is not kept out for days in the end."""
    monkeypatch.setattr(restarts.random, "random", lambda: 0.0)
    policy = RestartPolicy()
    lives = [5.0] * 7 + [3600.0, 5.0]
    pauses = [policy.pause(-9, lived) for lived in lives]
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 1, 2]


def test_a_thousand_workers_that_died_together_do_not_start_together():
    pauses = [RestartPolicy().pause(75, 5.0) or 0.0 for _ in range(1000)]
    assert min(pauses) >= 0.5
    assert max(pauses) <= 1.0
    assert all(sum(start <= p < start + 0.1 for p in pauses) < 400 for start in (0.5, 0.7, 0.9))


def test_exit_codes_after_which_a_restart_is_useless_are_those_of_the_documentation():
    codes = {0, 1, 2, 70, 75, 130, 143, -9}
    assert {code for code in codes if RestartPolicy().pause(code, 5.0) is None} == set(FATAL)
    root = Path(__file__).parents[2]
    said = f"exits with {' or '.join(map(str, FATAL))} is never restarted"
    assert said in " ".join((root / "docs/architecture.md").read_text().split())


@pytest.mark.parametrize(("code", "said"), [("137", "8.0 16\n"), ("2", "")])
def test_a_shell_gets_the_pause_and_the_state_for_the_next_call(monkeypatch, capsys, code, said):
    monkeypatch.setattr(restarts.random, "random", lambda: 0.0)
    restarts.main(code, "3", "8")
    assert capsys.readouterr().out == said
