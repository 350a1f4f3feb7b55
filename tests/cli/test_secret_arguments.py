"""Secrets of the command line move to environment variables."""

import argparse
import os

import pytest

from tuner.cli import secret_arguments
from tuner.config.override_parser import parse
from tuner.errors import ConfigError

URL = "postgresql://me:it's a@b@h/db"
WRITTEN = "'postgresql://me:it\\'s a@b@h/db'"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ) | {"GIVEN": "a b"})


def taken(text: str) -> str:
    args = argparse.Namespace(overrides=[text])
    secret_arguments.take_secrets(args)
    return args.overrides[0]


def test_a_value_goes_to_the_environment_as_it_is():
    assert taken(f"+storage.url={WRITTEN}") == "+storage.url=${oc.env:TUNER_STORAGE_URL}"
    assert os.environ["TUNER_STORAGE_URL"] == URL


def test_what_a_variable_holds_already_stays_there():
    os.environ["TUNER_STORAGE_URL"] = "sqlite:///other.db"
    assert taken(f"storage.url={WRITTEN}") == "storage.url=${oc.env:TUNER_STORAGE_URL_2}"
    assert os.environ["TUNER_STORAGE_URL"] == "sqlite:///other.db"
    assert taken(f"storage.url={WRITTEN}") == "storage.url=${oc.env:TUNER_STORAGE_URL_2}"


def test_lists_and_mappings_stay_what_they_are():
    moved = taken(f"objective.urls=[{WRITTEN},x,{{a: 'http://me:secret@h'}},3]")
    first, second = "${oc.env:TUNER_OBJECTIVE_URLS}", "${oc.env:TUNER_OBJECTIVE_URLS_2}"
    assert parse(moved).value() == [first, "x", {"a": second}, 3]
    assert os.environ["TUNER_OBJECTIVE_URLS_2"] == "http://me:secret@h"


def test_a_reference_beside_a_password_is_resolved():
    taken("storage.url='postgresql://me:x${oc.env:GIVEN}@h/db'")
    assert os.environ["TUNER_STORAGE_URL"] == "postgresql://me:xa b@h/db"


@pytest.mark.parametrize(
    "text", ["storage.url='postgresql://me:${oc.env:GIVEN}@h/db'", "storage.url=[http://a:bc@d"]
)
def test_others_are_left_alone(text):
    assert taken(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.b=choice(http://me:pw@h,x)", "a.b: a searched value contains a password"),
        (
            "a.b='http://me:x${c.d}@h'",
            "hint: export TUNER_A_B=…, and write a.b='${oc.env:TUNER_A_B}",
        ),
    ],
)
def test_what_cannot_be_kept_secret_is_refused(text, words):
    with pytest.raises(ConfigError, match=r"hint: ") as caught:
        taken(text)
    assert words in str(caught.value)
