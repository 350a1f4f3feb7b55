"""`make install` reports its progress, and fails as pip does."""

import importlib.util
import subprocess
import sys

import pytest

from tests.pages import ROOT

SCRIPT = ROOT / ".ci/install.py"
FOUND = importlib.util.spec_from_file_location("install", SCRIPT)
assert FOUND is not None
assert FOUND.loader is not None
install = importlib.util.module_from_spec(FOUND)
FOUND.loader.exec_module(install)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("  Downloading torch-2.9.0-cp311-cp311-manylinux_2_28_x86_64.whl (899.8 MB)\n",
         "  got torch 2.9.0 (899.8 MB)"),
        ("  Using cached https://a.b/c/sqlalchemy-2.0.44-cp311-x.whl (3.3 MB)\n",
         "  got sqlalchemy 2.0.44 (3.3 MB)"),
        ("Processing /a b/rich-15.0.0-py3-none-any.whl (from tuner==0.1)\n", "  got rich 15.0.0"),
        ("  Downloading torch-2.9.0-cp311-cp311-x.whl.metadata (30 kB)\n", ""),
        ("Collecting torch>=2.9 (from tuner==0.1)\n", ""),
        ("Requirement already satisfied: rich in /x/rich-15.0.0-py3 (15.0.0)\n", ""),
        ("Installing collected packages: mpmath, torch, tuner\n", "installing 3 packages"),
    ],
)  # fmt: skip
def test_a_line_a_package(line, shown):
    assert install.told(line) == shown


def test_a_long_silence_is_broken(monkeypatch):
    monkeypatch.setattr(install, "SILENCE", 0.2)
    code = "import time; print('a', flush=True); time.sleep(0.9); print('b')"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as pip:
        said = list(install.lines(pip))
    assert [line for line in said if line] == ["a\n", "b\n"]
    assert said.index("b\n") - said.index("a\n") > 2


def test_what_pip_refuses_is_shown_and_its_code_kept():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--no-index", "no-such-package-of-ours"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ERROR: No matching distribution found for no-such-package-of-ours" in done.stderr
    assert "installed" not in done.stderr
