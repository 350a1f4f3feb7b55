"""The winner's images are embedded in the page if they are small enough."""

import base64
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.samples import add, new_study
from tuner.report.configurations import Row
from tuner.report.html.gallery import LARGEST, pictures
from tuner.report.summary import summarise
from tuner.report.write import write_page

RUN = "00003-0123abcd"


def winner(directory: Path, **attrs: str) -> Row:
    study = new_study(directory)
    add(study, TrialState.COMPLETE, [0.5], **attrs)
    found = summarise(study).best
    assert found is not None
    return found


def test_those_that_lie_there_are_shown(tmp_path: Path) -> None:
    folder = tmp_path / "trials" / RUN / "artifacts"
    folder.mkdir(parents=True)
    (folder / "confusion.svg").write_text("<svg onload='window.owned=1'/>")
    (folder / "mistakes.png").write_bytes(b"x" * (LARGEST + 1))
    (folder / "other.png").write_bytes(b"png")
    study = new_study(tmp_path)
    add(study, TrialState.COMPLETE, [0.5], run_dir=f"runs/as it was then/trials/{RUN}")
    html = write_page(study, tmp_path / "r.html").read_text("utf-8")
    assert html.count("<img ") == 1
    content = base64.b64encode((folder / "confusion.svg").read_bytes()).decode()
    assert f'src="data:image/svg+xml;base64,{content}"' in html
    assert "window.owned" not in html


def test_a_run_whose_files_are_not_here_or_not_known_has_none(tmp_path: Path) -> None:
    assert pictures(winner(tmp_path, run_dir=f"runs/x/trials/{RUN}"), tmp_path) == []
    assert pictures(None, tmp_path) == []


@pytest.mark.parametrize("run_dir", ["{away}", "{away}/../away", "..", "", "x\0y", "link"])
def test_no_picture_is_taken_from_outside_of_the_studys_directory(
    tmp_path: Path, run_dir: str
) -> None:
    """Whoever can write a row names any directory; what lies there is not sent with the report."""
    away, here = tmp_path / "away", tmp_path / "here"
    for folder in (away, here.parent):
        (folder / "artifacts").mkdir(parents=True)
        (folder / "artifacts" / "mistakes.png").write_bytes(b"secret")
    (here / "trials" / RUN).mkdir(parents=True)
    (here / "trials" / RUN / "artifacts").symlink_to(away / "artifacts")
    named = RUN if run_dir == "link" else run_dir.format(away=away)
    assert pictures(winner(tmp_path, run_dir=named), here) == []
