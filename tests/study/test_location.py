"""Where a study is that is given by its name."""

from pathlib import Path

import pytest

from tuner.config.composition import Source
from tuner.environment import STORAGE_URL
from tuner.errors import ConfigError
from tuner.study import location, plan


@pytest.mark.parametrize("url", [None, "postgresql+psycopg://me@there/studies"])
def test_the_location_is_that_of_the_composed_configuration(
    monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    monkeypatch.delenv(STORAGE_URL, raising=False)
    if url is not None:
        monkeypatch.setenv(STORAGE_URL, url)
    composed = plan.load(Source(), ["study.name=mine"], validate=False)
    assert location.named("mine") == location.of(composed)


def test_what_is_given_replaces_the_defaults() -> None:
    given = {"storage.url": "sqlite:///a.db", "study.dir": "b", "storage.artifacts": "c"}
    found = location.named("mine", given)
    assert (found.url, found.directory, found.artifacts) == ("sqlite:///a.db", Path("b"), Path("c"))


def test_a_name_is_no_path() -> None:
    with pytest.raises(ConfigError) as refused:
        location.named("../mine")
    assert refused.value.mistakes[0].key == "study.name"
