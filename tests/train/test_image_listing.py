"""Which files are a class's images; everything else is left out, and told."""

import os
import socket
from pathlib import Path

import pytest
from PIL import Image

from tuner.errors import TunerError
from tuner.train.data import image_listing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of three images."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(3):
            image(tmp_path / name / f"{number}.png")
    return tmp_path


def image(path: Path, form: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4)).save(path, form)


def counts(found: image_listing.Listing) -> dict[str, int]:
    return {name: len(files) for name, files in found.classes.items()}


def refusal(root: Path) -> str:
    with pytest.raises(TunerError) as raised:
        image_listing.find(root)
    return str(raised.value)


def test_what_systems_and_programs_leave_behind_is_skipped(root):
    (root / "dog" / "._0.png").write_bytes(b"\0\5\x16\7")
    (root / "dog" / ".DS_Store").touch()
    image(root / "cat" / ".ipynb_checkpoints" / "0-checkpoint.png")
    image(root / "cat" / "@eaDir" / "0.png" / "thumbnail.png")
    image(root / "__MACOSX" / "cat" / "._0.png")
    found = image_listing.find(root)
    assert counts(found) == {"cat": 3, "dog": 3}
    assert found.left_out() == "hidden: 5"


def test_other_files_are_skipped_and_counted_by_suffix(root):
    for name in ("notes.txt", "1.TXT", "photo.heic", "a.\x1bb"):
        (root / "dog" / name).touch()
    (root / "labels.csv").touch()
    found = image_listing.find(root)
    assert counts(found) == {"cat": 3, "dog": 3}
    assert (
        found.left_out() == r"*.\x1bb: 1, *.heic: 1, *.txt: 2, outside of the class directories: 1"
    )


def test_a_file_without_suffix_is_an_image_if_it_is_one(root):
    image(root / "cat" / "0f3e")
    (root / "cat" / "README").write_text("no image")
    found = image_listing.find(root)
    assert [file.name for file in found.classes["cat"]] == ["0.png", "0f3e", "1.png", "2.png"]
    assert found.left_out() == "no suffix, and not an image: 1"


def test_pipes_sockets_and_broken_links_are_not_opened(root):
    os.mkfifo(root / "cat" / "pipe.png")
    os.mkfifo(root / "cat" / "pipe")
    with socket.socket(socket.AF_UNIX) as unix:
        here = os.getcwd()
        os.chdir(root / "cat")  # the path of a socket has 108 bytes at most
        try:
            unix.bind("socket.png")
        finally:
            os.chdir(here)
    (root / "dog" / "null.png").symlink_to("/dev/null")
    (root / "dog" / "gone.png").symlink_to("nowhere")
    (root / "dog" / "itself.png").symlink_to("itself.png")
    found = image_listing.find(root)
    assert counts(found) == {"cat": 3, "dog": 3}
    assert found.left_out() == "broken links: 2, not regular files: 4"


def test_directories_within_a_class_are_its_own(root):
    image(root / "cat" / "2024" / "may" / "9.png")
    files = image_listing.find(root).classes["cat"]
    assert [str(file.relative_to(root / "cat")) for file in files] == [
        "0.png", "1.png", "2.png", "2024/may/9.png",
    ]  # fmt: skip


def test_links_are_followed_once_and_never_in_circles(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    image(other / "8.png")
    image(root / "cat" / "real" / "9.png")
    (root / "cat" / "a link").symlink_to(other)
    (root / "cat" / "again").symlink_to(root / "cat" / "real")
    (root / "cat" / "circle").symlink_to(root / "cat")
    (root / "dog" / "all").symlink_to(root)
    (root / "dog" / "other").symlink_to(root / "cat")
    (root / "dog" / "0-link.png").symlink_to(root / "dog" / "0.png")
    (root / "owl").symlink_to(tmp_path_factory.mktemp("owls"))
    image(root / "owl" / "1.png")
    found = image_listing.find(root)
    assert counts(found) == {"cat": 5, "dog": 4, "owl": 1}
    assert found.left_out() == "links to directories that are read already: 4"


@pytest.mark.parametrize(
    ("names", "cure"),
    [
        (["train", "val"], "train"),
        (["Train", "Test", "valid"], "Train"),
        (["test", "training", "validation"], "training"),
        (["train"], "train"),
        (["cat", "test", "train"], "train"),
    ],
)
def test_splits_are_no_classes(tmp_path, names, cure):
    for name in names:
        image(tmp_path / name / "cat" / "0.png")
    said = refusal(tmp_path)
    assert "splits, not classes; hint: data.root=" in said
    assert f"{tmp_path / cure}," in said


def test_a_class_may_be_called_train(tmp_path):
    for name in ("train", "ship"):
        image(tmp_path / name / "0.png")
    assert counts(image_listing.find(tmp_path)) == {"ship": 1, "train": 1}


def test_what_is_no_directory_of_classes_is_refused(root):
    assert "nowhere: there is no such directory; hint: data.root=DIR" in refusal(root / "nowhere")
    assert "0 classes (skipped: outside of the class directories: 3); hint: " in refusal(
        root / "cat"
    )
    (root / "owl").mkdir()
    (root / "owl" / "a.heic").touch()
    assert "no image in owl (skipped: *.heic: 1); hint: " in refusal(root)


def test_a_directory_around_the_classes_is_told(root):
    (root / "photos").mkdir()
    for name in ("cat", "dog"):
        (root / name).rename(root / "photos" / name)
    said = refusal(root)
    assert "contains only photos; hint: data.root=" in said
    assert f"data.root={root}/photos, if its directories" in said


def test_the_name_of_a_class_is_utf8(root):
    os.mkdir(os.fsencode(root) + b"/caf\xe9")
    assert r"the name of the class b'caf\xe9' is not UTF-8; hint: rename it" in refusal(root)


def test_a_directory_that_cannot_be_listed_is_named(root, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert "dog cannot be listed: Permission denied; hint: " in refusal(root)


def test_a_directory_is_listed_again_only_once_it_has_changed(root, monkeypatch):
    for path in (root, *root.iterdir()):
        os.utime(path, (1, 1))
    first = image_listing.find(root)
    assert image_listing.find(root) is first
    image(root / "dog" / "3.png")
    assert counts(image_listing.find(root)) == {"cat": 3, "dog": 4}
