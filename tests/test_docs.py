"""The documentation is true: its reference is up to date."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_up_to_date(reference):
    assert reference.page() == reference.PAGE.read_text(), "make reference"


def test_every_key_and_every_option_says_what_it_means(reference):
    groups = reference.groups()
    assert [key.path for g in groups for key in g.keys if not key.meaning] == []
    silent = [f"{g.name}={o}" for g in groups for o, said in g.options.items() if not said]
    assert silent == []
