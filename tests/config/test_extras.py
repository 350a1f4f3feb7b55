"""A missing module is reported with the extra that installs it."""

import importlib.metadata
import sys

import pytest

from tuner.config import extras, targets
from tuner.errors import ConfigError

REQUIRES = [
    "optuna<6,>=5",
    "psycopg[binary]>=3.2; extra == 'postgresql'",
    "lean-skinny; extra == 'lean'",
    'typing-extensions>=4; extra == "dev"',
    'Some.Thing>=1; extra == "more"',
]


@pytest.fixture(autouse=True)
def _metadata(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda _name: REQUIRES)


def test_the_extra_is_read_from_the_package_itself():
    assert extras.cure("psycopg.rows") == "pip install 'tuner[postgresql]'"
    assert extras.cure("some_thing") == "pip install 'tuner[more]'"
    assert extras.cure("typing_extensions").startswith("pip install typing-extensions")
    assert extras.cure("nowhere").startswith("pip install nowhere")
    assert extras.cure("lean") == "pip install 'tuner[lean]'"


def test_an_objective_that_needs_a_missing_package_says_so(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "needs_more.py").write_text("import some_thing.deep\n")
    with pytest.raises(ConfigError) as caught:
        targets.locate("needs_more.train")
    assert "No module named 'some_thing'; hint: pip install 'tuner[more]'" in str(caught.value)
    assert "needs_more" not in sys.modules
