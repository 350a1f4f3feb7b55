"""The documentation is true: what it tells to type runs, links lead somewhere, no key is missing.

Of a fenced block ``bash`` each line is run, all of a page in one directory; ``python FILE`` and
``yaml FILE`` are written there first, ``python`` alone is run after the commands.  A word after
``bash`` names what must be there as well: ``postgresql``, ``s3``, ``slurm``, ``ray``,
``download``; ``again`` repeats commands that other pages have.  ``NOT_RUN`` is all that is not
run, and docs/README.md tells its reasons.
"""

import ast
import functools
import gzip
import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torchvision
import yaml
from PIL import Image

from tests import clusters, servers
from tests.launched import new_database
from tests.test_files import idx
from tuner import cli, storage
from tuner.sql.trials import Trials

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
NEEDS = ("postgresql", "s3", "slurm", "ray", "download")
NOT_RUN = ("make", "pip", "docker", "kubectl")
"""Programs whose lines are judged by their files, targets, extras and services alone."""
SHELL = ("eval", "mkdir", "for")
"""Lines for a real shell."""
READS = {"status", "best", "final", "report", "export", "predict", "dashboard"}

SMALL = {
    "tune": ["launch.workers=1", "sampler=random", "study.n_trials=24"],
    "train": ["trainer.epochs=1", "data.limit=100"],
    "final": ["trainer.epochs=1", "data.limit=100", "final.seeds=1", "final.finalists=1"],
}
SMALL["tune"] += SMALL["train"]
SMALL["worker"] = SMALL["tune"][1:]
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


def of_pages(*needs: str) -> list[Path]:
    """The pages with commands that need that."""
    return [p for p in PAGES if any(b.kind == "bash" and b.rest in needs for b in blocks(p))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(page: Path, *needs: str) -> list[str]:
    """The lines to type, without their comments."""
    found = [b.text for b in blocks(page) if b.kind == "bash" and b.rest in needs]
    lines = "".join(found).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s+# .*", "", line) for line in lines]


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
    pictures = [f"photos/{('cat', 'dog', 'owl')[k % 3]}/{k}.png" for k in range(36)]
    for picture in (*pictures, "one.png", "two.png", "an image.png"):
        (tmp_path / picture).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (40, 32, 3), np.uint8)).save(tmp_path / picture)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TUNER_DATA", str(data))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("session", of_pages(""), indirect=True, ids=name)
def test_what_a_page_tells_to_type_runs(session, request, monkeypatch, capsys):
    page = request.node.callspec.params["session"]
    follow(commands(page, ""), monkeypatch, capsys)
    for block in blocks(page):
        if (block.kind, block.rest) == ("python", ""):
            exec(compile(block.text, name(page), "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize("session", of_pages("postgresql", "s3"), indirect=True, ids=name)
def test_what_needs_a_server_runs(session, request, monkeypatch, capsys, postgresql, tmp_path):
    page = request.node.callspec.params["session"]
    with servers.s3(tmp_path) as environment:
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        follow(commands(page, "postgresql"), monkeypatch, capsys, url=new_database(postgresql))
        follow(commands(page, "s3"), monkeypatch, capsys, url=new_database(postgresql))


@pytest.mark.slow
@pytest.mark.parametrize("session", of_pages("download"), indirect=True, ids=name)
def test_what_is_fetched_comes_from_its_server(session, request, monkeypatch, capsys):
    (session / "mirror").mkdir()
    for path in (session / "data").iterdir():  # small files in the place of the real ones
        (session / "mirror" / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    names = [(path.name, None) for path in (session / "mirror").iterdir()]
    with served(session / "mirror") as url:
        monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", [url])
        monkeypatch.setattr(torchvision.datasets.FashionMNIST, "resources", names)
        page = request.node.callspec.params["session"]
        follow(commands(page, "download"), monkeypatch, capsys)
    assert len(list((session / "data").rglob("*-images-idx3-ubyte"))) == 2


@pytest.mark.slow
@pytest.mark.xdist_group("slurm")
@pytest.mark.parametrize("session", of_pages("slurm"), indirect=True, ids=name)
def test_what_needs_slurm_runs(session, request, monkeypatch, capsys, postgresql, slurm):
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    monkeypatch.setenv("BASH_FUNC_module%%", "() { :; }")  # the pages load modules
    page = request.node.callspec.params["session"]
    follow(commands(page, "slurm"), monkeypatch, capsys, url=new_database(postgresql))
    slurm.clear()


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("session", of_pages("ray"), indirect=True, ids=name)
def test_what_needs_ray_runs(session, request, monkeypatch, capsys, postgresql):
    with clusters.ray() as cluster:
        cluster.cluster.add_node(num_cpus=2, num_gpus=2, object_store_memory=80_000_000)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        page = request.node.callspec.params["session"]
        lines = [c.replace("ray://head:10001", cluster.address) for c in commands(page, "ray")]
        follow(lines, monkeypatch, capsys, url=new_database(postgresql))


@pytest.fixture(scope="module")
def slurm() -> Iterator[clusters.SlurmCluster]:
    with clusters.slurm() as cluster:
        yield cluster


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The address of a server of the files in a directory."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def follow(
    lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture, *, url: str | None = None
) -> None:
    """Type the lines; ``url`` stands for the database that a page names."""
    if url is not None:
        monkeypatch.setenv("TUNER_STORAGE_URL", url)
    first = next((line.split()[1] for line in lines if line.startswith("tuner ")), "")
    if first in READS:
        run("tuner tune", monkeypatch, capsys)  # the page takes for granted that there is a study
    for line in lines:
        if url is None or not line.startswith("export TUNER_STORAGE_URL="):
            run(line, monkeypatch, capsys)


def run(line: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> str:
    """Run a line as a shell would, but `tuner` within this process, which has torch already."""
    if line.startswith(SHELL):
        subprocess.run(["bash", "-ec", line], check=True, capture_output=True)
        return ""
    if line.startswith("tuner"):
        inner = functools.partial(run, monkeypatch=monkeypatch, capsys=capsys)
        line = re.sub(r"\$\((tuner .*?)\)", lambda found: inner(found[1]), line)
    first, *words = shlex.split(os.path.expandvars(line), comments=True)
    if first == "export":
        for word in words:
            monkeypatch.setenv(*word.split("=", 1))
        return ""
    if first == "cd":
        monkeypatch.chdir(words[0])
        monkeypatch.syspath_prepend(os.getcwd())  # as each new process would
        return ""
    if first in (*NOT_RUN, "."):
        external([first, *words])
        return ""
    assert first == "tuner", line
    words[1:1] = SMALL.get(words[0], [])  # what the page says comes later and holds
    words = [a_twelfth(word) for word in words]
    if words[0] == "dashboard":
        return serve(words)
    if "launch=ray" in words:  # it connects a process once
        subprocess.run([sys.executable, "-m", "tuner", *words], check=True)
        return ""
    capsys.readouterr()
    with connections_closed(monkeypatch):
        assert cli.main(words) == 0, (line, capsys.readouterr())
    return capsys.readouterr().out


@contextmanager
def connections_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command's connections end with it, as with a process: SQLite's locks belong to one."""
    opened = []
    connect = storage.connect

    def recorded(url: str, **options: bool) -> Trials:
        opened.append(connect(url, **options))
        return opened[-1]

    with monkeypatch.context() as patch:
        patch.setattr(storage, "connect", recorded)
        yield
    for each in opened:
        each.close()


def serve(words: list[str]) -> str:
    """Start the dashboard on a free port, ask whether it lives, and end it as Ctrl-C does."""
    Path("token").write_text("a token that nobody guesses")
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", *words, "--port=0"], stderr=subprocess.PIPE, text=True
    )
    try:
        said = next(line for line in process.stderr or () if "dashboard at" in line)
        port = re.findall(r":(\d+)/", said)[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    finally:
        process.kill()
        process.communicate()
    return ""


def a_twelfth(word: str) -> str:
    """A budget of configurations keeps its proportion to others; 16 workers become one."""
    keys = r"^(study.n_trials|launch.workers)=(\d+)$"
    return re.sub(keys, lambda n: f"{n[1]}={max(1, int(n[2]) // 12)}", word)


def test_what_is_written_again_is_run_elsewhere():
    ran = {line for page in PAGES for line in commands(page, "", *NEEDS)}
    for page in PAGES:
        assert [line for line in commands(page, "again") if line not in ran] == []


def test_what_is_not_run_is_told():
    told = (DOCS / "README.md").read_text().partition("are not run")[0].rpartition("\n\n")[2]
    assert re.findall(r"`(\w+)`", told) == list(NOT_RUN)


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
        assert block.kind != "bash" or block.rest in ("", "again", *NEEDS), block
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
