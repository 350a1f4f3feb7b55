import os
import threading

import pytest

from tuner.files import locked, replace, replaced


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "a.json"
    replace(path, "old")
    with replaced(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
        assert draft.suffix == ".json"
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["a.json"]


def test_a_pipe_or_a_device_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="pipe or a device"):
        replace(tmp_path / "pipe", "new")
    assert (tmp_path / "pipe").is_fifo()
    assert [*tmp_path.iterdir()] == [tmp_path / "pipe"]


@pytest.mark.parametrize("sync", [False, True])
def test_a_failed_write_leaves_the_old_content_and_no_draft(tmp_path, sync):
    path = tmp_path / "a.json"
    replace(path, b"old")

    def fail() -> None:
        with replaced(path, sync=sync) as draft:
            draft.write_text("half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_synced_file_and_its_directory_are_on_disk_before_it_is_done(tmp_path, monkeypatch):
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: (synced.append(os.readlink(f"/proc/self/fd/{file}")), real(file))
    )
    with replaced(tmp_path / "a", sync=True) as draft:
        draft.write_text("new")
    assert synced == [str(draft), str(tmp_path)]


def refused() -> None:
    raise TimeoutError("held elsewhere")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_a_lock_is_shared_only_if_both_holders_agree(tmp_path, first, second):
    path = tmp_path / "lock"
    with locked(path, shared=first):
        if first and second:
            with locked(path, shared=True, pause=refused):
                pass
        else:
            with pytest.raises(TimeoutError), locked(path, shared=second, pause=refused):
                pass
    with locked(path, pause=refused):
        pass


def test_a_waiting_caller_gets_the_lock_when_its_holder_leaves(tmp_path):
    path, asked, released = tmp_path / "lock", threading.Event(), threading.Event()
    got: list[bool] = []

    def wait() -> None:
        with locked(path, pause=lambda: (asked.set(), released.wait(60))):
            got.append(released.is_set())

    waiting = threading.Thread(target=wait)
    with locked(path):
        waiting.start()
        assert asked.wait(60)
    released.set()
    waiting.join(60)
    assert got == [True]
