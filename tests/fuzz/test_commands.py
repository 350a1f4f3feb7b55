"""Command lines: a documented exit code, one error with words, and no secret on the screen."""

import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import inside
from tests.fuzz import canary
from tests.fuzz.harness import examples, harmless
from tests.fuzz.test_spaces import PATHS, SWEEPS
from tests.toy import CONF, OBJECTIVE
from tuner.cli import parser

PASSWORD = "-".join(["p4ss", "w0rd"])  # hypothesis draws literals by itself
URLS = [
    f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:1/db", f"mysql+pymysql://me:{PASSWORD}@[::1/db",
    f"postgresql://127.0.0.1:1/db?password={PASSWORD}", f"sqlite://me:{PASSWORD}@host/x.db",
    "sqlite:///fuzz.db", "sqlite:///.", "sqlite://", "nonsense", "sqlite:////proc/x/y.db", "",
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(["1", "-1", "0", "0.5", "1e400", "null", "true", "a", "''", "[a]", "{a:1}"]),
    st.sampled_from(["???", "${seed}", "${a.b}", "${oc.env:NOBODY}", "${x:", "nowhere.f", "a b"]),
    st.sampled_from(["toy", "digits", "cnn", "sgd", "none", "\x1b[2J", "\u202e", "é" * 99]),
    SWEEPS,
    st.text(st.characters(exclude_characters="/\0"), max_size=12),
)  # fmt: skip
KEYS = st.sampled_from([
    "study.name", "study.metric", "study.direction", "study.objectives", "study.constraints",
    "study.enqueue", "study.prior", "study.keep_checkpoints", "budget.hours", "budget.stop_when",
    "worker.heartbeat", "worker.grace", "worker.concurrency", "worker.device", "final.seeds",
    "final.overrides", "storage.patience", "seed", "space", "sampler", "pruner", "launch",
    "objective", "data", "model", "optimizer", "tracking", "experiment", "objective.x",
    "objective.kind", "objective.other", "objective._target_", "launch.workers", "sampler.x",
    "hydra.run.dir", "hydra/launcher", "hydra.searchpath", "data@model", "space.objective.x",
]) | PATHS  # fmt: skip
OVERRIDES = st.one_of(
    st.builds("{}{}={}".format, st.sampled_from(["", "", "", "+", "++", "~"]), KEYS, VALUES),
    st.builds("storage.url='{}'".format, st.sampled_from(URLS)),
    st.builds("storage.url={}".format, st.sampled_from(URLS)),
    st.text(st.characters(exclude_characters="/\0"), max_size=12),
)
OPTIONS = st.sampled_from([
    "--json", "--all", "--overrides", "--pareto", "--join=x", "--join", "--run-dir=toy.py",
    "--output=out.md", "--output=.", "--output=toy.py/x", "--format=md", "--format=onnx",
    "--format", "--config-dir=conf", "--config-dir=nowhere", "--config-dir", "--config-name=x",
    "--config-name", "--app=nowhere.py", "--app=conf", "--app=nowhere.module", "--app", "--trust",
    "--device=x", "--top=0", "--top=x", "-h", "--help", "--version", "-x", "--x=y", "--", "-",
    "--yes", "--dry-run", "--keep=0", "--keep=x", "--files", "--csv", "--sort=value", "--sort=x",
    "--state=pruned", "--state=x", "--reverse", "list", "rename", "copy", "toy", "other", "0",
    "--read-only", "--port=99999999", "--host", "--token-file=nowhere", "-1", "--shell=x",
])  # fmt: skip
COMMANDS = sorted({*parser.COMMANDS} - {"dashboard", "init"})
ENDS = {
    "tune": ["study.n_trials=0"],
    "final": ["final.seeds=0"],
    "worker": ["study.n_trials=1", "storage.patience=0"],
    "train": ["trainer.epochs=0"],
}
"""Last words, which keep a command from working for long whatever was said before."""
OURS = ["--config-dir=conf", "objective=toy", "space=toy", "sampler=random", "pruner=none"]
LINES = st.builds(
    lambda command, own, words: [command, *own, *words, *ENDS.get(command, [])],
    st.sampled_from(COMMANDS),
    st.sampled_from([OURS, OURS, [], ["--config-dir=conf", "objective=toy"]]),
    st.lists(OVERRIDES | OPTIONS, max_size=4),
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a study of two configurations in its database."""
    made = tmp_path_factory.mktemp("commands")
    for name, text in CONF.items():
        (made / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (made / "conf" / name).write_text(text)
    (made / "toy.py").write_text(OBJECTIVE)
    canary.plant(made)
    assert inside.run(["worker", *OURS, "study.n_trials=2"], made, {}).code == 0
    yield made
    shutil.rmtree(made)


@examples(30)
@given(LINES)
def test_a_command_line_ends_as_documented(directory: Path, words: list[str]) -> None:
    with harmless(words):
        said = inside.run(words, directory, {"NO_COLOR": "1", canary.VARIABLE: canary.SECRET})
    told = f"{words}: exit {said.code}\n{said.out}\n{said.err}"
    assert said.code in (0, 1, 2), told
    assert "Traceback" not in said.err, told
    assert said.code == 0 or "error: " in said.err, told
    assert all(c.isprintable() or c in "\n\t" for c in said.out + said.err), told
    assert PASSWORD not in said.out + said.err, told


@examples(150)
@given(st.lists(st.sampled_from(sorted(parser.COMMANDS)) | OVERRIDES | OPTIONS, max_size=5))
def test_words_are_a_command_line_or_refused_in_one_line(words: list[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    code = None
    with harmless(words), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            args = parser.parse(words)
        except SystemExit as left:
            code = left.code
    said = err.getvalue()
    if code is None:
        assert args.command in parser.COMMANDS
    elif words:
        assert (code, said.startswith("error: ")) in ((0, False), (2, True))
    assert all(c.isprintable() or c in "\n\t" for c in said)
    assert PASSWORD not in said
