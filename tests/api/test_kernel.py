"""A search in a notebook, run by a real kernel of Jupyter where one is installed."""

import re
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_for

FIRST = """
import time
from pathlib import Path

import tuner

target = 0.3

def train(x, *, report):
    for epoch in range(1, 4):
        while Path("wait").exists():
            Path("waiting").touch()
            time.sleep(0.1)
        report(epoch, accuracy=1 - (x - target) ** 2)
"""
SEARCH = (
    "study = tuner.search(train, {'x': 'interval(0, 1)'}, n_trials=3, overrides=['pruner=none'])"
)


@pytest.mark.slow  # a kernel starts in seconds
def test_an_interrupted_cell_is_run_again(tmp_path: Path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    cells = [nbformat.v4.new_code_cell(text) for text in (FIRST, SEARCH, SEARCH, "study")]
    book = nbformat.v4.new_notebook(cells=cells)
    place = {"metadata": {"path": str(tmp_path)}}
    client: Any = nbclient.NotebookClient(book, timeout=250, allow_errors=True, resources=place)
    (tmp_path / "wait").touch()

    def interrupt() -> None:
        wait_for((tmp_path / "waiting").exists)
        client.km.provisioner.process.send_signal(2)
        (tmp_path / "wait").unlink()

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    client.execute()
    interrupting.join()
    _, first, second, last = (cell.outputs for cell in book.cells)
    assert [o.ename for o in first if o.output_type == "error"] == ["KeyboardInterrupt"]
    assert [o for o in second if o.output_type == "error"] == []
    (picture,) = [o.data["text/html"] for o in second if o.output_type == "display_data"]
    assert "3 of 3" in re.sub("<[^>]*>", "", picture)
    assert "3 complete" in last[0].data["text/plain"]
