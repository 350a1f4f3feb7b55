"""URLs of databases and names of studies: of use, or refused in words without the password."""

import os
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

from tests.fuzz import canary
from tests.fuzz.harness import examples, harmless, outcome
from tuner import log, masking
from tuner.config.composition import Source
from tuner.config.override_text import text_of
from tuner.storage import database, urls
from tuner.study import create, plan

PASSWORD = "-".join(["Pl4nted", "w0rd"])
"""Within each password, and nowhere else: no literal, for hypothesis draws those by itself."""
LETTERS = st.characters(codec="utf-8", exclude_characters="\0")
PASSWORDS = st.builds(
    "{}{}{}".format, st.text(LETTERS, max_size=4), st.just(PASSWORD), st.text(LETTERS, max_size=4)
)
SCHEMES = st.sampled_from([
    "postgresql", "postgresql+psycopg", "mysql+pymysql", "mariadb", "sqlite", "postgres", "oracle",
    "mssql+pyodbc", "redis", "http", "POSTGRESQL", "sqlite+pysqlite", "sqlite+aiosqlite", "",
]) | st.text(st.characters(codec="ascii"), max_size=6)  # fmt: skip
HOSTS = st.sampled_from(["h", "127.0.0.1:1", "[::1]:1", "[::1", "h:port", "h:99999999", "é", ""])
PATHS = st.sampled_from(["db", "", "a/b", "/tmp", "a b", ":memory:", "x?", "#", ".."]) | st.text(
    LETTERS, max_size=8
)
WITH_PASSWORD = st.one_of(
    st.builds("{}://{}:{}@{}/{}".format, SCHEMES, PATHS, PASSWORDS, HOSTS, PATHS),
    st.builds("{}://{}/{}?password={}".format, SCHEMES, HOSTS, PATHS, PASSWORDS),
)
WITHOUT = st.one_of(
    st.builds("{}://{}/{}".format, SCHEMES, HOSTS, PATHS),
    st.builds("{}:{}".format, SCHEMES, PATHS),
    st.text(max_size=30),
).filter(lambda url: PASSWORD not in url)


@examples(150)
@given(WITH_PASSWORD | WITHOUT)
def test_a_url_is_of_use_or_refused_without_its_password(url: str) -> None:
    with harmless(url):
        _, said = outcome(lambda: urls.validate(url))
        told = log.printable(masking.masked(f"{urls.masked(url)} {said}"))
    assert not said or "hint: " in said
    assert PASSWORD not in told


@examples(30)
@given(PATHS | st.text(max_size=30), st.sampled_from(["sqlite:///", "sqlite:///x/", "sqlite://"]))
def test_a_file_is_opened_as_a_database_or_refused(tmp_path: Path, path: str, begin: str) -> None:
    assume(not path.lstrip("/").startswith("tmp") and ".." not in path)
    os.chdir(tmp_path)
    with harmless(path):
        _, unfit = outcome(lambda: database.probe(f"{begin}{path.lstrip('/')}"))
        opened, said = outcome(lambda: database.connect(f"{begin}{path.lstrip('/')}"))
    assert "hint: " in said or opened is not None
    assert bool(unfit) == bool(said), "what is judged is what happens"
    if opened is not None:
        opened.close()


NAMES = st.text(min_size=1, max_size=60) | st.sampled_from([
    ".", "..", "a/b", "../x", "a" * 200, "a" * 201, "é" * 100, "é" * 101, "\\", "-x", "--app=evil",
    "CON", "a\nb", "\x1b[2J", "\u202e", "$(evil)", "`evil`", "'", '"', "*", "~", "%s", "{x}",
    f"${{oc.env:{canary.VARIABLE}}}", "\udcff", "a\0b", " ", ". .", "null", "1", "report.html",
])  # fmt: skip


@examples(40)
@given(NAMES)
def test_a_name_names_a_study_and_what_is_written_of_it_or_is_refused(
    tmp_path: Path, name: str
) -> None:
    os.chdir(tmp_path)
    before = {p.name for p in tmp_path.parent.iterdir()}
    words = ["space=none", f"study.name={text_of(name)}", "model.width=choice(8,9)"]
    with harmless(name):
        found, _ = outcome(lambda: plan.load(Source(), words, validate=False).require())
        if found is not None:
            study = create.open_study(found)
            assert study.name == found.study.name
            Path(found.study.dir, "logs").mkdir(parents=True, exist_ok=True)
            study.storage.close()
    assert {p.name for p in tmp_path.parent.iterdir()} == before
    assert {p.name for p in tmp_path.iterdir()} <= {"runs"}
