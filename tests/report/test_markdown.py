"""The Markdown report has the facts of the page, and stored strings are never markup."""

import re
import shlex
from pathlib import Path

from optuna.trial import TrialState

from tests.samples import HOSTILE, Known, add, full_study, new_study
from tuner.report.markdown import markdown
from tuner.report.summary import summarise
from tuner.report.write import write_page

C, F = TrialState.COMPLETE, TrialState.FAIL


def test_it_says_what_was_found(tmp_path: Path) -> None:
    study = full_study(tmp_path)
    study.set_user_attr("command", ["experiment=digits", "study.n_trials=24"])
    text = write_page(study, tmp_path / "report.md", form="md", commands=Known()).read_text("utf-8")
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles == [
        "Winner", "Is the winner really better?", "The best 10", "Parameter importance",
        "Device time", "Pruning", "Search space", "Failures", "Reproduce the search",
    ]  # fmt: skip
    assert "tuner tune experiment=digits study.n_trials=24" in text
    assert "| `optimizer.lr@sgd` |" in text
    assert "- 1: ValueError: bad shape" in text
    assert "which saved" in text
    assert "`tuner final` trains" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) > 20


def test_the_winner_can_be_pasted(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    overrides = ["data.name=my data/$HOME", "model='cnn'", "seed=3", "storage.url=sqlite:///x.db"]
    add(study, C, [0.9], overrides=overrides)
    text = markdown(study, summarise(study), {}, Known())
    (line,) = [line for line in text.splitlines() if line.startswith("tuner train")]
    assert shlex.split(line) == ["tuner", "train", *overrides[:3]]


def test_hostile_strings_stay_text(tmp_path: Path) -> None:
    study = new_study(tmp_path, HOSTILE)
    hostile = f"{HOSTILE} [a](http://x) | `b` \n# c\x1b[31m"
    study.set_user_attr("metric", hostile)
    study.set_user_attr("command", [hostile])
    study.set_user_attr("space", [{"name": hostile, "distribution": hostile, "condition": "a=b"}])
    add(study, F, [], reason=hostile)
    add(study, C, [0.5], overrides=[hostile])
    text = markdown(study, summarise(study), {}, Known())
    fences = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    shown = re.sub(r"\\[\\|`*_<>\[\]#&]", "", fences)  # what is left unescaped
    assert "<" not in shown
    assert "](" not in shown
    assert "\x1b" not in text
    assert [line for line in shown.splitlines() if line.startswith("# c")] == []
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows if "distribution" not in row} <= {4, 5, 6}


def test_a_study_without_anything_has_a_report(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    text = markdown(study, summarise(study), {})
    assert "nothing has run yet" in text
    assert "No configuration is complete." in text
    assert "Not recorded." in text
