"""The documentation is true: every command runs, and every link has a target.

Each line of a fenced ``bash`` block is run, all lines of a page in one directory. ``python FILE``
and ``yaml FILE`` are written there first; ``python`` alone is run after the commands. A word after
``bash`` names a requirement: ``postgresql``, ``s3``, ``slurm``, ``ray``, ``kubernetes``,
``download``, ``machines`` (in test_workstations.py); ``again`` marks commands that other pages run.
Only ``NOT_RUN`` is not run, for the reasons in docs/README.md.
"""

import ast
import functools
import gzip
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torchvision
import yaml
from PIL import Image

from tests import clusters, pages, servers
from tests.launch import kubernetes_server
from tests.launched import new_database
from tests.pages import DOCS, EXAMPLES, PAGES, blocks, commands, name
from tests.train.test_torchvision_files import idx
from tests.typist import NOT_RUN, follow

NEEDS = ("postgresql", "s3", "slurm", "ray", "kubernetes", "download", "machines")
EXTRAS = ("lightning", "transformers")
"""What a block of an example's page needs."""
EVERY = [*PAGES, *sorted(EXAMPLES.rglob("*.md"))]


def of_pages(*needs: str) -> list[Path]:
    """The pages with commands that need that."""
    return [p for p in PAGES if any(b.kind == "bash" and b.rest in needs for b in blocks(p))]


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request) -> Path:
    """A directory with what a reader has: the page's files, data sets, images, the command."""
    pages.write_files(request.param, tmp_path)
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


QUICK = [DOCS / "howto/conditional.md", *sorted((DOCS / "extending").glob("*.md"))]
"""Pages that are typed in seconds, and so with every change."""


@pytest.mark.parametrize(
    "session",
    [pytest.param(p, marks=() if p in QUICK else pytest.mark.slow) for p in of_pages("")],
    indirect=True,
    ids=name,
)
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


@pytest.mark.slow
@pytest.mark.parametrize("session", of_pages("kubernetes"), indirect=True, ids=name)
def test_what_needs_kubernetes_runs(session, request, monkeypatch, capsys, postgresql, tmp_path):
    page, url = request.node.callspec.params["session"], new_database(postgresql)
    cluster = kubernetes_server.Kubernetes(session, runs=True)
    cluster.secrets["TUNER_STORAGE_URL"] = url
    cluster.objects.add("/api/v1/namespaces/team/persistentvolumeclaims/tuner-runs")
    with kubernetes_server.serving(cluster, tmp_path / "kubeconfig"):
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        follow(commands(page, "kubernetes"), monkeypatch, capsys, url=url)


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


def test_what_is_written_again_is_run_elsewhere():
    ran = {line for page in PAGES for line in commands(page, "", *NEEDS)}
    for page in PAGES:
        assert [line for line in commands(page, "again") if line not in ran] == []


def test_what_is_not_run_is_told():
    told = (DOCS / "README.md").read_text().partition("are not run")[0].rpartition("\n\n")[2]
    assert re.findall(r"`(\w+)`", told) == list(NOT_RUN)


@pytest.mark.parametrize("page", EVERY, ids=name)
def test_every_block_says_what_it_is_and_can_be_read(page):
    assert page.read_text().count("\n```") == 2 * len(blocks(page))
    for block in blocks(page):
        assert block.kind in ("bash", "python", "yaml", "sql", "text", "diff"), block
        assert block.kind != "bash" or block.rest in ("", "again", *NEEDS, *EXTRAS), block
        if block.kind == "python":
            ast.parse(block.text)
        if block.kind == "yaml":
            yaml.safe_load(block.text)


@pytest.mark.parametrize("page", EVERY, ids=name)
def test_no_command_stands_where_it_is_not_typed(page):
    """Indented, as Markdown allows as well."""
    programs = "|".join(("tuner", "python", "cd", *NOT_RUN))
    assert re.findall(rf"^(?: {{4}}|\t)\s*(?:{programs}) .*", page.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("page", EVERY, ids=name)
def test_every_link_leads_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        if not target.startswith("https://"):
            there = page.parent / target if target else page
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), (target, anchor)


def test_every_page_is_in_the_table_of_contents():
    contents = (DOCS / "README.md").read_text()
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in contents} == set()


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def test_the_picture_is_small_and_loads_nothing():
    drawn = (DOCS / "live.svg").read_text()
    assert len(drawn) < 300_000
    assert re.findall(r"https?://[^\"]+", drawn) == ["http://www.w3.org/2000/svg"]
