"""The documentation is true: what it tells to type runs, links lead somewhere, no key is missing.

Of a fenced block ``bash`` each line is run, all of a page in one directory; ``python FILE`` and
``yaml FILE`` are written there first.  ``bash check`` needs a cluster, an engine, a download or
a server, or repeats another page's: its words are parsed, its configurations composed and judged.
"""

import ast
import functools
import importlib.util
import itertools
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.test_files import idx
from tuner import cli, plan
from tuner.commands import asking
from tuner.config import Source

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
JUDGED = {"tune", "worker", "train", "final", "check"}
EXTERNAL = {"cd", "docker", "done", "eval", "export", "for", "kubectl", "make", "mkdir", "pip"}

SMALL = {
    "tune": ["launch.workers=1", "sampler=random", "study.n_trials=24"],
    "train": ["trainer.epochs=1", "data.limit=100"],
    "final": ["trainer.epochs=1", "data.limit=100", "final.seeds=1", "final.finalists=1"],
}
SMALL["tune"] += SMALL["train"]
"""Put before what a page says, so that it takes seconds."""


@dataclass(frozen=True)
class Block:
    """A fenced block: ``kind`` and ``rest`` are the words after its three backticks."""

    kind: str
    rest: str
    text: str


def blocks(page: Path) -> list[Block]:
    fence = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [Block(kind, rest or "", text) for kind, rest, text in fence.findall(page.read_text())]


def of_pages(kind: str, rest: str | None = None) -> list[Path]:
    """The pages with a block of that kind."""
    return [p for p in PAGES if any(b.kind == kind and rest in (None, b.rest) for b in blocks(p))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request) -> Path:
    """A directory with what a reader has: the page's files, data sets, images, the command."""
    for block in blocks(request.param):
        if block.kind in ("python", "yaml") and block.rest:
            path = tmp_path / block.rest
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    data = tmp_path / "data"
    data.mkdir()
    generator = np.random.default_rng(0)
    for part in ("train", "t10k"):
        pixels = generator.integers(0, 255, (200, 28, 28)).astype(np.uint8)
        (data / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels))
        (data / f"{part}-labels-idx1-ubyte").write_bytes(
            idx((np.arange(200) % 10).astype(np.uint8))
        )
    for number in range(36):
        path = tmp_path / "photos" / ("cat", "dog", "owl")[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (40, 32, 3), np.uint8)).save(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TUNER_DATA", str(data))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("session", of_pages("bash", ""), indirect=True, ids=name)
def test_what_a_page_tells_to_type_runs(session, request, monkeypatch, capsys):
    for block in blocks(request.node.callspec.params["session"]):
        if (block.kind, block.rest) == ("bash", ""):
            for line in block.text.replace("\\\n", " ").splitlines():
                run(re.sub(r"\$\((.*?)\)", lambda inner: run(inner[1], capsys), line), capsys)


def run(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a line as a shell would, but within this process, which has torch already."""
    first, *words = shlex.split(os.path.expandvars(line), comments=True)
    if first == "export":
        os.environ.update(word.split("=", 1) for word in words)
        return ""
    if first == "cd":
        os.chdir(words[0])
        sys.path.insert(0, os.getcwd())  # as each new process would
        return ""
    assert first == "tuner", line
    words[1:1] = SMALL.get(words[0], [])  # what the page says comes later and holds
    capsys.readouterr()
    assert cli.main([a_twelfth(word) for word in words]) == 0, (line, capsys.readouterr())
    return capsys.readouterr().out


def a_twelfth(word: str) -> str:
    """A budget of configurations keeps its proportion to others."""
    return re.sub(r"^study.n_trials=(\d+)$", lambda n: f"study.n_trials={int(n[1]) // 12}", word)


def typed(text: str) -> Iterator[list[str]]:
    """The words of each command of a script."""
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&>")
        lexer.whitespace_split = True
        for ends, words in itertools.groupby(lexer, lambda word: word in (";", "&&", ">")):
            if not ends:
                yield list(words)


@pytest.mark.parametrize("session", of_pages("bash", "check"), indirect=True, ids=name)
def test_what_cannot_run_here_composes(session, request, monkeypatch):
    monkeypatch.setenv("TUNER_STORAGE_URL", "postgresql+psycopg://tuner@127.0.0.1/tuner")
    for block in blocks(request.node.callspec.params["session"]):
        if (block.kind, block.rest) == ("bash", "check"):
            for words in typed(block.text):
                judge(words)


@functools.cache
def judged(source: Source, overrides: tuple[str, ...], search: bool) -> plan.Plan:
    """Pages repeat themselves, and a second each adds up."""
    return plan.load(source, overrides, search=search).require()


def judge(words: list[str]) -> None:
    if words[0] in ("do", ".") or words[0].startswith("secrets/"):
        return
    if words[0] != "tuner":
        assert words[0] in EXTERNAL, words
        external(words)
        return
    args = cli._parse([word for word in words[1:] if word != "data.download=true"])
    if args.command in JUDGED:
        search = args.command not in ("train", "final")
        judged(asking.source(args), tuple(args.overrides), search)
    elif args.overrides:
        asking.readable(args)


def external(words: list[str]) -> None:
    """Files, targets, extras and services that another program is asked for must exist."""
    assert all((ROOT / word).exists() for word in words if re.match(r"(docker|kubernetes)/", word))
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    if words[0] == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = re.findall(r"\[(.*?)\]", " ".join(words))
        asked = {extra for found in extras for extra in found.split(",")}
        assert asked <= set(project["optional-dependencies"])
    if words[:2] == ["docker", "compose"]:
        services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
        named = [w.partition("=")[0] for w in words if re.fullmatch(r"\w[\w-]*=\d+", w)]
        assert set(named) <= set(services)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_says_what_it_is_and_can_be_read(page):
    assert page.read_text().count("\n```") == 2 * len(blocks(page))
    for block in blocks(page):
        assert block.kind in ("bash", "python", "yaml", "text"), block
        if block.kind == "python":
            ast.parse(block.text)
        if block.kind == "yaml":
            yaml.safe_load(block.text)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_picture_is_small_and_loads_nothing():
    drawn = (DOCS / "live.svg").read_text()
    assert len(drawn) < 300_000
    assert re.findall(r"https?://[^\"]+", drawn) == ["http://www.w3.org/2000/svg"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_key_that_a_page_names_exists(page, reference):
    groups = {group.name: group for group in reference.groups()}
    for group, rest in re.findall(r"`([a-z]+)\.([a-z_.]+)(?:=[^`]*)?`", page.read_text()):
        if group in groups and not rest.endswith((".py", ".db")):
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


def test_the_reference_is_up_to_date(reference):
    assert reference.page() == reference.PAGE.read_text(), "make reference"


def test_every_key_and_every_option_says_what_it_means(reference):
    groups = reference.groups()
    assert [key.path for g in groups for key in g.keys if not key.meaning] == []
    silent = [f"{g.name}={o}" for g in groups for o, said in g.options.items() if not said]
    assert silent == []
