"""A SQLite file is deleted, replaced or damaged while it is in use."""

import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from tests.conftest import Project, wait_for
from tests.study.test_next_trial import SPACE, Bench
from tuner import cli
from tuner.config.composition import Source
from tuner.errors import StorageAway, StorageError, StorageLost
from tuner.report.dashboard import server
from tuner.storage import database as storage
from tuner.storage.trial_storage import Trials
from tuner.study import create, plan, study
from tuner.study.budget import Budget


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a b#.db"


def opened(path: Path, name: str = "mine") -> Trials:
    found = storage.connect(f"sqlite:///{path}")
    optuna.create_study(study_name=name, storage=found)
    return found


def delete(path: Path) -> str:
    path.unlink()
    return "deleted"


def replace(path: Path) -> str:
    other = path.with_name("other.db")
    opened(other, "another").close()
    other.replace(path)
    return "replaced"


def spoil(path: Path) -> str:
    """Everything in it and in its log but their headers."""
    for file, header in ((path, 4096), (Path(f"{path}-wal"), 32)):
        with file.open("r+b") as written:
            size = written.seek(0, os.SEEK_END)
            written.seek(header)
            written.write(b"\xfb" * (size - header))
    return "the file is damaged"


@pytest.mark.parametrize("act", [delete, replace])
def test_a_file_that_is_gone_is_not_gone_on_with(path: Path, act: Callable[[Path], str]) -> None:
    """Nor by connections that are open to what has no name any more."""
    found = opened(path)
    held = found.engine.connect()
    what = act(path)
    said = rf"a b#\.db was {what} while it was in use; hint: move .* back"
    for use in (found.get_all_studies, lambda: found.create_new_trial(1)):
        with pytest.raises(StorageLost, match=said):
            use()
    held.close()
    assert path.exists() == (what == "replaced"), "no empty file is made in its place"


def test_a_file_that_was_put_back_is_gone_on_with(path: Path) -> None:
    found = opened(path)
    path.rename(path.with_name("away"))
    with pytest.raises(StorageLost):
        found.get_all_studies()
    path.with_name("away").rename(path)
    assert [s.study_name for s in found.get_all_studies()] == ["mine"]


def test_options_of_the_url_are_the_drivers(path: Path) -> None:
    first, second = (storage.connect(f"sqlite:///{path}?timeout=0.05").engine for _ in range(2))
    with first.begin() as holder:
        holder.exec_driver_sql("SELECT 1")
        with pytest.raises(sa.exc.OperationalError, match="locked"), second.begin() as other:
            other.exec_driver_sql("SELECT 1")


def damage(path: Path, *tables: str) -> None:
    """Write over the pages of tables and their indexes; those of all, if none is named."""
    with closing(sqlite3.connect(path)) as connection:  # the last one: it takes the log away
        pages = connection.execute("SELECT tbl_name, rootpage FROM sqlite_master").fetchall()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        for table, page in pages:
            if table in (tables or (table,)) and page:
                file.seek((page - 1) * size)
                file.write(b"\xfb" * size)


def test_a_damaged_file_says_so_whatever_is_asked_of_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Budget(n_trials=9))
    trial = bench.run()
    assert trial is not None
    bench.study.storage.close()
    damage(tmp_path / "s.db")
    asks = (
        bench.claim,
        bench.study.workers,
        bench.study.times,
        bench.study.verify,
        lambda: bench.study.attrs,
        lambda: bench.study.optuna.get_trials(),
        lambda: bench.study.storage.set_trial_user_attr(trial._trial_id, "a", 1),
    )
    for ask in asks:
        with pytest.raises(
            StorageLost, match=r"the file is damaged: .*s\.db \(.*; hint: restore a backup"
        ):
            ask()


def test_a_damaged_schema_says_so(path: Path) -> None:
    """SQLite repeats a part of it, which may be no text."""
    opened(path).close()
    text = path.read_bytes()
    path.write_bytes(text.replace(b"CREATE TABLE studies", b"CREATE TABLE \xa3 tudies"))
    with pytest.raises(StorageError, match=r"cannot open .*; hint: the file is damaged: restore"):
        storage.connect(f"sqlite:///{path}")


@pytest.mark.parametrize("command", ["status --all", "report", "tune"])
def test_every_command_says_that_a_file_is_damaged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    bench = Bench(tmp_path, Budget(n_trials=9))
    bench.run()
    bench.study.storage.close()
    damage(tmp_path / "s.db", "trials")
    asked = [*command.split(), f"storage.url='sqlite:///{tmp_path}/s.db'", *SPACE]
    assert cli.main(asked) in (1, 2)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: storage.url: ")
    assert "the file is damaged" in last


def test_the_dashboard_says_why_it_has_nothing_to_show(tmp_path: Path, caplog) -> None:
    bench = Bench(tmp_path, Budget(n_trials=9))
    bench.run()
    bench.study.storage.close()
    damage(tmp_path / "s.db", "trials")
    shared = storage.connect(f"sqlite:///{tmp_path}/s.db")
    application = server._application(shared, tmp_path / "artifacts", None)
    said: list[str] = []

    def ask() -> str:
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies/1", "QUERY_STRING": ""}
        return b"".join(application(environ, lambda status, *_: said.append(status))).decode()

    answers = [ask(), ask()]
    assert all("the file is damaged: " in answer for answer in answers)
    assert [status[:3] for status in said] == ["503", "503"]
    assert "Traceback" not in caplog.text
    assert caplog.text.count("the file is damaged") == 1


def planned(path: Path) -> plan.Plan:
    overrides = [f"storage.url='sqlite:///{path}'", "space=none", "model.width=choice(8,16)"]
    return plan.load(Source(), overrides).require()


def test_a_worker_that_was_started_for_a_study_makes_none(path: Path, tmp_path: Path) -> None:
    asked = planned(path)
    made = create.open_study(asked)
    assert made.uid
    assert create.join_study(asked, made.uid).uid == made.uid
    made.storage.close()
    path.rename(path.with_name("away"))
    with pytest.raises(StorageLost, match=r"no longer exists: .* there is no database"):
        create.join_study(asked, made.uid)
    assert not path.exists()
    opened(path).close()
    with pytest.raises(StorageLost, match="no longer exists"):
        create.join_study(asked, made.uid)
    assert "digits" not in study.names(storage.connect(f"sqlite:///{path}"))
    create.open_study(asked)
    with pytest.raises(StorageLost, match="not the one for which this worker was started"):
        create.join_study(asked, made.uid)


def test_an_outage_as_a_worker_starts_is_waited_for(path: Path, monkeypatch) -> None:
    def away(*_: object, **__: object) -> Trials:
        raise StorageAway("nobody answers")

    monkeypatch.setattr(storage, "connect", away)
    with pytest.raises(StorageAway):
        create.join_study(planned(path), "uid")


def overwrite(path: Path) -> None:
    """``cp other.db study.db``: the file stays the same, and holds another's database."""
    other = path.with_name("other.db")
    create.open_study(planned(other)).storage.close()
    for ending in ("-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
    shutil.copyfile(other, path)


@pytest.mark.parametrize("act", ["delete", "make anew", "overwrite"])
def test_a_study_that_is_no_longer_the_one_is_told_from_it(path: Path, act: str) -> None:
    asked = planned(path)
    mine = create.open_study(asked)
    mine.verify()
    if act == "overwrite":
        mine.storage.close()
        overwrite(path)
    else:
        storage.connect(f"sqlite:///{path}").delete_study(mine.id)
    said = "was deleted"
    if act != "delete":
        create.open_study(asked)
        said = "replaced by another study"
    with pytest.raises(StorageLost, match=said):
        mine.verify()
    if act == "delete":
        with pytest.raises(StorageLost, match=said):
            mine.claim("w", budget=Budget(n_trials=1), max_retries=1)
        with pytest.raises(StorageLost, match=said):
            mine.ended(Budget(n_trials=1))


def test_a_study_in_the_place_of_a_deleted_one_begins_with_no_time(path: Path) -> None:
    asked = planned(path)
    mine = create.open_study(asked)
    mine.start("cpu", 1)
    with mine.storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE tuner_clocks SET seconds = 3600")
    storage.connect(f"sqlite:///{path}").delete_study(mine.id)
    again = create.open_study(asked)
    assert again.id == mine.id
    assert again.times().hours == 0.0


SLOW = ("study.n_trials=40", "objective.seconds=0.2", "launch.workers=2", "worker.grace=60")


@pytest.mark.slow
@pytest.mark.parametrize("act", [delete, replace, spoil])
def test_a_search_ends_with_what_became_of_its_file(
    project: Project, act: Callable[[Path], str]
) -> None:
    tune = project.start("tune", *SLOW)
    wait_for(lambda: len(project.journal()) >= 4)
    database = project.directory / "runs/tuner.db"
    what = act(database)
    _, err = tune.communicate(timeout=280)
    assert tune.returncode == 1, err
    assert "Traceback" not in err
    assert re.search(rf"{what}.*; hint: ", err.splitlines()[-1]), err
    logs = [path.read_text() for path in project.directory.glob("runs/toy/logs/*.log")]
    assert not [text for text in logs if "Traceback" in text]
    if act is delete:
        assert not database.exists()
    elif act is replace:
        for ending in ("-wal", "-shm"):  # the old one's, as the message says
            Path(f"{database}{ending}").unlink()
        assert study.names(storage.connect(f"sqlite:///{database}")) == ["another"]
