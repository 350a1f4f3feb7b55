"""The reference has every key of the configuration, and no page names any other."""

import importlib.util
import re
import sys
from types import ModuleType
from typing import Any

import pytest

import tuner
from tests import pages
from tests.pages import DOCS, PAGES


@pytest.mark.parametrize("page", PAGES, ids=pages.name)
def test_every_key_that_a_page_names_exists(page, groups):
    for group, rest in re.findall(r"`([a-z]+)\.([a-z_.]+)(?:=[^`]*)?`", page.read_text()):
        if group == "study" and hasattr(tuner.Study, rest):
            continue  # an attribute of the object in Python
        if group in groups and not rest.endswith((".py", ".db", "_target_")):
            keys = [key.path for key in groups[group].keys]
            assert any(f"{k}.".startswith(f"{group}.{rest}.") for k in keys), (group, rest)
    for group, option in re.findall(r"`([a-z]+)=([a-z_0-9]+)`", page.read_text()):
        if group in groups:
            assert option in [*groups[group].options, "mine", "app"], (group, option)


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def groups(reference: ModuleType) -> dict[str, Any]:
    return {group.name: group for group in reference.groups()}


def test_the_reference_is_up_to_date(reference):
    assert reference.page() == reference.PAGE.read_text(), "make reference"


def test_every_key_and_every_option_says_what_it_means(groups):
    assert [key.path for g in groups.values() for key in g.keys if not key.meaning] == []
    silent = [f"{g.name}={o}" for g in groups.values() for o, said in g.options.items() if not said]
    assert silent == []
