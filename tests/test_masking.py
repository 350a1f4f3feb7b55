"""A password in a URL appears in no output."""

import json
import shlex
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests import inside, warm
from tests.launched import WAITS, new_database
from tuner import masking
from tuner.config import override_text
from tuner.masking import has_secret, hidden, masked
from tuner.storage import urls

PLANTED = "Pl4nted/w0rd"
LETTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
ODD = st.sampled_from("'\"\\ @:/?#%&$[]{}(),=;`~*")
SECRETS = st.text(LETTERS | ODD, max_size=12).map("Pl4nted{}w0rd".format)
USERS = st.sampled_from(["", "me", "me@corp", "a%40b", "o'neil"])
NAMES = st.sampled_from(
    ["PASSWORD", "sslpassword", "sig", "token", "X-Amz-Signature", "X-Goog-Credential", "api-key"]
)


@pytest.fixture
def forgetful(monkeypatch):
    """Nothing that other tests have had remembered."""
    monkeypatch.setattr(masking, "_secrets", ())


@st.composite
def planted(draw, schemes=("postgresql+psycopg", "mysql", "s3", "https", "db")):
    """A secret, and a URL that holds it, as people write it or as URLs ask for."""
    secret, scheme = draw(SECRETS), draw(st.sampled_from(schemes))
    start, safe = f"{scheme}://{draw(USERS)}", quote(secret, safe="")
    return secret, draw(
        st.sampled_from(
            [
                f"{start}:{secret}@127.0.0.1:1/db",
                f"{start}:{safe}@127.0.0.1:1/db?x=a@b",
                f"{scheme}://127.0.0.1:1/db?a=b&{draw(NAMES)}={safe}&c=d",
            ]
        )
    )


def assert_clean(text: str) -> None:
    assert "Pl4nted" not in text, text
    assert "w0rd" not in text, text


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(planted())
def test_no_text_has_a_secret_of_a_url_that_is_known(forgetful, drawn):
    secret, url = drawn
    assert has_secret(url)
    assert_clean(hidden(url))
    bucket = f'Invalid bucket name "KEY:{secret}@bucket"'
    for text in (url, repr(url), secret, repr(secret), bucket, quote(secret), shlex.quote(url),
                 json.dumps([url]), override_text.quote(url),
                 f"one\n{url} is off; ask me@h"):  # fmt: skip
        assert_clean(masked(text))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(planted())
def test_nor_has_one_that_nobody_has_noted(forgetful, drawn):
    _, url = drawn
    masking._secrets = ()
    if url.split() == [url]:  # a blank may end it
        assert_clean(masked(f"at {url} it fails"))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    drawn=planted(("postgresql+psycopg", "mysql+pymysql", "nonsense", "sqlite")),
    form=st.sampled_from(
        [
            "storage.url={quoted}",
            "storage.url={url}",
            "--storage.url={url}",
            "study.mirror={quoted}",
            "study.nothing={quoted}",
            "objective.kind=[{quoted},{url}",
            "study.name=choice({quoted},a)",
            "{url}",
        ]
    ),
)
@example(  # on two lines, and with a character at which Hydra's parser quotes the rest
    drawn=("Pl4nted\nw0rd", "mysql+pymysql://:Pl4nted\nw0rd@127.0.0.1:1/db"), form="{url}"
)
@example(
    drawn=('Pl4nted"w0rd', 'mysql+pymysql://:Pl4nted"w0rd@127.0.0.1:1/db'),
    form="storage.url={url}",
)
def test_no_mistake_tells_it(forgetful, project, drawn, form):
    masking._secrets = ()
    word = form.format(url=drawn[1], quoted=override_text.quote(drawn[1]))
    said = inside.run(["status", *project.DEFAULTS, word, "storage.patience=0"],
                      project.directory, {})  # fmt: skip
    assert said.code == 2
    assert_clean(said.err + said.out)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "storage.url='postgresql://me:a:b@c@host/db'",
            "storage.url='postgresql://me:***@host/db'",
        ),
        ("mysql+pymysql://:x@h/d failed", "mysql+pymysql://:***@h/d failed"),
        ("x://h/d?user=me&password=x&a=b", "x://h/d?user=me&password=***&a=b"),
        ("x://h/d?passwd=x&sslpassword=y z", "x://h/d?passwd=***&sslpassword=*** z"),
        ("postgresql://postgres:@/postgres?host=/tmp/a", None),
        ("http://127.0.0.1:8080/ is up, mail me@there", None),
        ("http://localhost:8080, as me@there says", None),
        ("s3://bucket: not copied, says me@there", None),
        ("s3://KEY:S/CR+T@bucket", "s3://KEY:***@bucket"),
        ("https://token@github.com/a", "https://***@github.com/a"),
        ("a://u:p@h, b://u:q@h", "a://u:***@h"),
        ("postgresql://me:${oc.env:PASSWORD}@h/d", None),
        (
            "https://a/b?X-Amz-Date=1&X-Amz-Signature=2&sig=3&TOKEN=4",
            "https://a/b?X-Amz-Date=1&X-Amz-Signature=***&sig=***&TOKEN=***",
        ),
        ("HTTPS://token@github.com/a", "HTTPS://***@github.com/a"),
        ("mysql://h/d?pass=x&compass=y", "mysql://h/d?pass=***&compass=y"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dx", "mssql+pyodbc:///?odbc_connect=***"),
        ("sqlite:////a/b@c.db", None),
    ],
)
def test_passwords_of_urls_are_masked_and_nothing_else(text, shown):
    assert masked(text) == (shown or text)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://KEY:12/S+T@bucket", "s3://KEY:***@bucket"),
        ("postgresql:/me:secret@h/d", "postgresql:/me:***@h/d"),
        ("s3://bucket/a:b@c", None),
        ("redis://h:6379/a@b", None),
    ],
)
def test_a_password_is_found_behind_what_looks_like_a_port_or_one_slash(url, shown):
    assert hidden(url) == (shown or url)


def test_a_password_among_the_options_of_a_database_is_masked_too():
    url = f"postgresql://me:{PLANTED}@h/d?sslpassword={PLANTED}"
    assert urls.masked(url) == "postgresql://me:***@h/d?sslpassword=***"


def everything_stored(url: str) -> str:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        found = [connection.exec_driver_sql(f"SELECT * FROM {name}").all() for name in names]
    engine.dispose()
    return str(found)


def test_a_password_on_the_command_line_is_found_nowhere_else(project, postgresql, monkeypatch):
    url = new_database(postgresql).replace("postgres:@", f"postgres:{PLANTED}@")
    assert PLANTED in url
    (project.directory / "toy.py").write_text(WAITS)
    project.go()
    started = []

    class Popen(warm.Popen):
        def __init__(self, words, **options):
            started.append(words)
            super().__init__(words, **options)

    monkeypatch.setattr(warm, "Popen", Popen)
    args = ["storage=postgresql", f"storage.url='{url}'", "study.n_trials=2", "launch.workers=2"]
    out = project.call("tune", *args, f"objective.kind='http://me:{PLANTED}@h/'")
    err = project.stderr
    assert len([words for words in started if "worker" in words]) == 2
    assert PLANTED not in str(started)
    assert "TUNER_STORAGE_URL" in err, "a hint how to keep it out of this command's line too"
    assert "'storage.url=${oc.env:TUNER_STORAGE_URL}'" in out, "what goes on is shown without it"
    assert PLANTED not in out + err
    files = [path for path in project.directory.rglob("*") if path.is_file()]
    assert {"report.html", "worker-0.log"} <= {path.name for path in files}
    assert not [path for path in files if PLANTED.encode() in path.read_bytes()]
    stored = everything_stored(url)
    assert "objective.x" in stored
    assert PLANTED not in stored


def test_a_password_that_an_objective_notes_is_masked(project):
    place = f"http://me:{PLANTED}@h"
    project.call("worker", "study.n_trials=1", "objective.kind=${oc.env:PLACE}", PLACE=place)
    (trial,) = project.study().attempts()
    assert trial.user_attrs["facts"] == {"kind": "http://me:***@h"}


@pytest.mark.parametrize(
    "given",
    [
        f"storage.url=postgresql+psycopg://me:{PLANTED}@127.0.0.1:1/db",
        f"storage.url='postgresql+nonsense://me:{PLANTED}@h/db'",
        f"storage.url='nonsense://me:{PLANTED}@h/db'",
        f"storage.url='postgresql://me:{PLANTED}@h:port/db'",
        f"storage.url=[postgresql://me:{PLANTED}@h/db",
        f"storage.url='mysql+pymysql://me:{PLANTED}ł@127.0.0.1:1/db'",
        f"storage.nourl=postgresql://me:{PLANTED}@h/db",
        f"study.mirror=nonsense://me:{PLANTED}@h/db",
    ],
)
def test_no_message_has_it(given, project):
    for command in ("status", "tune"):
        words = [command, *project.DEFAULTS, given, "storage.patience=0"]
        said = inside.run(words, project.directory, {})
        assert said.code in (1, 2)
        assert "hint: " in said.err
        assert PLANTED not in said.err + said.out
