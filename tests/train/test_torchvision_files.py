import functools
import gzip
import hashlib
import http.server
import io
import pickle
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from tests.recipes import CPU
from tuner.errors import TunerError
from tuner.train.data import dataset, torchvision_files
from tuner.train.data.augment import Augment

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
IMAGES = np.arange(40 * 28 * 28, dtype=np.int64).astype(np.uint8).reshape(40, 28, 28)
LABELS = (np.arange(40) % 10).astype(np.uint8)
SETTINGS = {"validation": 0.25, "split_seed": 0, "limit": None, "augment": Augment()}


def idx(values: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def mnist_files() -> dict[str, bytes]:
    return {
        f"{part}-{name}": idx(values)
        for part in ("train", "t10k")
        for name, values in (("images-idx3-ubyte", IMAGES), ("labels-idx1-ubyte", LABELS))
    }


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_a_flat_directory_of_idx_files_is_read_as_it_is(tmp_path, name, packed):
    root = tmp_path / "a 'b'"
    root.mkdir()
    for file, content in mnist_files().items():
        (root / f"{file}{'.gz' if packed else ''}").write_bytes(
            gzip.compress(content) if packed else content
        )
    before = sorted(root.iterdir())
    found = torchvision_files.read(name, str(root), train=True)
    assert np.array_equal(found.images, IMAGES[..., None])
    assert found.labels.tolist() == LABELS.tolist()
    assert len(found.classes) == 10
    assert sorted(root.iterdir()) == before, "nothing is written, the directory may be read-only"


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_debians_fashion_mnist_is_accepted():
    found = dataset.vision(CPU, name="FashionMNIST", root=str(DEBIAN), **SETTINGS | {"limit": 1000})
    assert found.in_shape == (1, 28, 28)
    assert found.counts(found.train) == [75] * 10
    assert found.counts(found.test) == [1000] * 10
    assert found.classes[0] == "T-shirt/top"


@pytest.fixture
def server(tmp_path):
    """A web server of this test's own directory, and what it was asked for."""
    root, asked = tmp_path / "web", []
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{web.server_port}/", root, asked
        web.shutdown()


def missing(name, root) -> str:
    """What is said of data that are not there, by the look and by the reading of them."""
    said = []
    for find in (torchvision_files.overview, functools.partial(torchvision_files.read, train=True)):
        with pytest.raises(TunerError) as caught:
            find(name=name, root=str(root))
        said.append(str(caught.value))
    assert said[0] == said[1]
    return said[0]


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_mnist_is_downloaded_by_torchvision_once_however_many_workers_start(
    tmp_path, server, monkeypatch
):
    url, web, asked = server
    resources = []
    for file, content in mnist_files().items():
        packed = gzip.compress(content)
        (web / f"{file}.gz").write_bytes(packed)
        resources.append((f"{file}.gz", md5(packed)))
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [url])
    monkeypatch.setattr(datasets.FashionMNIST, "resources", resources)

    def fetched(root):
        return torchvision_files.read("FashionMNIST", root, train=True, download=True)

    root = tmp_path / "not yet" / "there"
    assert "data.download=true to download 31 MB" in missing("FashionMNIST", root)
    with ThreadPoolExecutor(4) as workers:
        jobs = [workers.submit(fetched, str(root)) for _ in range(4)]
        assert all(np.array_equal(job.result().images, IMAGES[..., None]) for job in jobs)
    # torchvision asks for each file twice: it looks for redirections first.
    assert sorted(asked) == sorted(2 * [f"/{name}" for name, _ in resources])

    found = dataset.vision(CPU, name="FashionMNIST", root=str(root), **SETTINGS)
    assert len(found.train) + len(found.validation) == len(found.test) == 40
    assert torch.equal(found.test.images[..., 0], torch.from_numpy(IMAGES))
    assert len(asked) == 8, "files that are there are not fetched again"


def cifar_archive(web: Path) -> tuple[str, dict[str, str]]:
    """A tiny CIFAR-10 in the real format; the md5 of the archive and of each file."""
    batches = {f"data_batch_{n}": 20 for n in range(1, 6)} | {"test_batch": 20}
    contents = {
        name: pickle.dumps(
            {"data": np.full((n, 3072), 7, np.uint8), "labels": [i % 10 for i in range(n)]}
        )
        for name, n in batches.items()
    }
    contents["batches.meta"] = pickle.dumps({"label_names": [f"c{i}" for i in range(10)]})
    with tarfile.open(web / "cifar.tar.gz", "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    whole = md5((web / "cifar.tar.gz").read_bytes())
    return whole, {name: md5(content) for name, content in contents.items()}


@pytest.mark.filterwarnings("ignore:dtype.*align:Warning")  # torchvision's own, on NumPy 2.4
def test_cifar_is_downloaded_by_torchvision(tmp_path, server, monkeypatch):
    url, web, asked = server
    whole, parts = cifar_archive(web)
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{url}cifar.tar.gz")
    monkeypatch.setattr(datasets.CIFAR10, "filename", "cifar.tar.gz")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", whole)
    train = [[name, parts[name]] for name in parts if name.startswith("data")]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", parts["test_batch"]]])
    meta = datasets.CIFAR10.meta | {"md5": parts["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)

    found = dataset.vision(
        CPU, name="CIFAR10", root=str(tmp_path / "data"), download=True, **SETTINGS
    )
    assert set(asked) == {"/cifar.tar.gz"}
    assert found.in_shape == (3, 32, 32)
    assert found.classes[3] == "c3"
    assert [len(found.train), len(found.validation), len(found.test)] == [75, 25, 20]


def test_a_download_that_fails_says_where_it_looked_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])  # nobody listens
    message = (
        r"(?s)MNIST is not in data\.root=.*could not be downloaded: .*refused.*hint: set data\.root"
    )
    with pytest.raises(TunerError, match=message):
        torchvision_files.read("MNIST", str(tmp_path / "data"), train=True, download=True)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"<html>", "is not an idx file of bytes: it does not begin"),
        ("train-images-idx3-ubyte", idx(IMAGES)[:-5], "is not an idx file of bytes"),
        ("train-images-idx3-ubyte", b"", "is not an idx file of bytes"),
        ("train-labels-idx1-ubyte", idx(LABELS[:-1]), "40 images but 39 labels"),
        ("train-labels-idx1-ubyte", idx(LABELS + 1), "labels 1 to 10 for 10 classes"),
        ("train-labels-idx1-ubyte", None, "is missing"),
    ],
)
def test_damaged_files_are_named(tmp_path, file, content, message):
    for name, whole in (mnist_files() | {file: content}).items():
        if whole is not None:
            (tmp_path / name).write_bytes(whole)
    with pytest.raises(TunerError, match=message):
        torchvision_files.read("MNIST", str(tmp_path), train=True)


def test_a_damaged_gzip_is_named(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES))[:100])
    with pytest.raises(TunerError, match="is not an idx file of bytes"):
        torchvision_files.read("MNIST", str(tmp_path), train=True)
