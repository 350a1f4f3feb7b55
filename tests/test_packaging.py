"""The wheel works outside of the checkout, in an environment of its own."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packaging")]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", directory, ROOT], check=True, capture_output=True)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory) -> Path:
    """The `bin` of a fresh environment that has the wheel, and sees what it depends on."""
    directory = tmp_path_factory.mktemp("fresh") / "an environment"
    venv.create(directory, with_pip=False)
    subprocess.run(
        [sys.executable, "-m", "pip", f"--python={directory}/bin/python", "install", "--quiet",
         "--no-deps", "--no-index", wheel],
        check=True, capture_output=True,
    )  # fmt: skip
    (packages,) = directory.glob("lib/python*/site-packages")
    seen = [p for p in sys.path if p.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(seen) + "\n")
    return directory / "bin"


def own_environment() -> dict[str, str]:
    """Without the variables that would lead back to the checkout."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TUNER"))}


@pytest.fixture
def tuner(installed: Path, tmp_path: Path):
    """Runs the installed command in an empty directory; returns what it wrote to stdout."""
    environment = own_environment()

    def run(*args: str, code: int = 0, module: bool = False, **env: str) -> str:
        command = [installed / "python", "-m", "tuner"] if module else [installed / "tuner"]
        done = subprocess.run(
            [*command, *args], cwd=tmp_path, env=environment | env, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        run.stderr = done.stderr
        return done.stdout

    return run


def test_the_wheel_carries_the_configuration_and_its_types(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"tuner/conf/{path.relative_to(ROOT / 'conf')}" in names
    assert "tuner/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    assert "Provides-Extra: postgresql" in text


def test_it_runs_outside_the_checkout(tuner, installed, tmp_path):
    where = subprocess.run(
        [installed / "python", "-c", "import tuner; print(tuner.__file__)"],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=own_environment(),
    ).stdout  # fmt: skip
    assert Path(where.strip()).is_relative_to(installed.parent)
    data = json.loads(tuner("check", "--json", module=True))
    assert data["run"]["objective"] == "tuner.train.engine.train"
    assert not list(tmp_path.iterdir()), "checking leaves nothing behind"
    small = ["trainer.epochs=1", "data.limit=200", "model.width=4"]
    result = json.loads(tuner("train", *small))
    assert 0 <= result["accuracy"] <= 1
    assert "epoch 1" in tuner.stderr
