"""A password in a URL appears in no output."""

import pytest
import sqlalchemy as sa

from tests import inside, warm
from tests.launched import WAITS, new_database
from tuner import urls
from tuner.masking import masked

PLANTED = "Pl4nted/w0rd"


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
        ("sqlite:////a/b@c.db", None),
    ],
)
def test_passwords_of_urls_are_masked_and_nothing_else(text, shown):
    assert masked(text) == (shown or text)


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


@pytest.mark.parametrize(
    "given",
    [
        f"storage.url=postgresql+psycopg://me:{PLANTED}@127.0.0.1:1/db",
        f"storage.url='postgresql+nonsense://me:{PLANTED}@h/db'",
        f"storage.url='nonsense://me:{PLANTED}@h/db'",
        f"storage.url='postgresql://me:{PLANTED}@h:port/db'",
        f"storage.url=[postgresql://me:{PLANTED}@h/db",
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
