"""The winner's own pictures travel within the page, if they are small enough to be sent."""

import base64
from pathlib import Path

from optuna.trial import TrialState

from tests.samples import add, new_study
from tuner.report.gallery import LARGEST, pictures
from tuner.report.page import write_page
from tuner.report.rows import Row
from tuner.report.summary import summarise


def winner(directory: Path, **attrs: str) -> Row:
    study = new_study(directory)
    add(study, TrialState.COMPLETE, [0.5], **attrs)
    found = summarise(study).best
    assert found is not None
    return found


def test_those_that_lie_there_are_shown(tmp_path: Path) -> None:
    folder = tmp_path / "a run" / "artifacts"
    folder.mkdir(parents=True)
    (folder / "confusion.svg").write_text("<svg onload='window.owned=1'/>")
    (folder / "mistakes.png").write_bytes(b"x" * (LARGEST + 1))
    (folder / "other.png").write_bytes(b"png")
    study = new_study(tmp_path)
    add(study, TrialState.COMPLETE, [0.5], run_dir=str(folder.parent))
    html = write_page(study, tmp_path / "r.html").read_text("utf-8")
    assert html.count("<img ") == 1
    content = base64.b64encode((folder / "confusion.svg").read_bytes()).decode()
    assert f'src="data:image/svg+xml;base64,{content}"' in html
    assert "window.owned" not in html


def test_a_run_elsewhere_has_none(tmp_path: Path) -> None:
    assert pictures(winner(tmp_path, run_dir=str(tmp_path / "away"))) == ""


def test_a_run_without_a_directory_has_none(tmp_path: Path) -> None:
    assert pictures(winner(tmp_path)) == ""
