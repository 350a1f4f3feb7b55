"""Run the commands of a page as a reader would, with smaller budgets."""

import functools
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests import warm
from tests.inside import connections_closed
from tests.pages import ROOT
from tuner import cli
from tuner.launch.fork_server import ForkServer

Capture = pytest.CaptureFixture[str]
NOT_RUN = ("make", "pip", "docker", "kubectl")
"""Programs whose lines are judged by their files, targets, extras and services alone."""
SHELL = ("eval", "mkdir", "for")
"""Lines for a real shell."""
READS = {
    "status", "best", "trials", "trial", "final", "report", "export", "predict", "dashboard",
    "study", "clean",
}  # fmt: skip

SMALL = {
    "tune": ["launch.workers=1", "sampler=random", "study.n_trials=24"],
    "train": ["trainer.epochs=1", "data.limit=100"],
    "final": ["trainer.epochs=1", "data.limit=100", "final.seeds=1", "final.finalists=1"],
}
SMALL["best"] = SMALL["export"] = SMALL["train"]
SMALL["tune"] += SMALL["train"]
SMALL["worker"] = SMALL["tune"][1:]
"""Put before what a page says, so that it takes seconds."""


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
    if first == "python":
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        return ""
    assert first == "tuner", line
    small = [] if "--app" in words else SMALL.get(words[0], [])  # its keys are its own
    if "launch=none" in words:  # it has no workers
        small = [text for text in small if not text.startswith("launch.")]
    words[1:1] = small  # what the page says comes later and holds
    words = [a_twelfth(word) for word in words]
    if words[0] == "dashboard":
        return serve(words)
    if "launch=ray" in words:  # it connects a process once; the cluster's GPUs are in name alone
        subprocess.run([sys.executable, "-m", "tuner", *words, "worker.device=cpu"], check=True)
        return ""
    capsys.readouterr()
    with connections_closed(monkeypatch), monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", warm.TrainerPopen)  # for its workers
        patch.setattr(ForkServer, "begin", lambda *_: None)  # it imports what that process has
        assert cli.main(words) == 0, (line, capsys.readouterr())
    return capsys.readouterr().out


def serve(words: list[str]) -> str:
    """Start the dashboard on a free port, ask whether it lives, and end it as Ctrl-C does."""
    Path("token").write_text("a token that nobody guesses")
    command = [*warm.COMMAND, *words, "--port=0"]
    process = warm.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = next(line for line in process.stderr or () if "dashboard at" in line)
        port = re.findall(r":(\d+)/", said)[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=280) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=280)
        assert process.returncode == 0, err
    finally:
        process.kill()
        process.communicate()
    return ""


def a_twelfth(word: str) -> str:
    """A budget of configurations keeps its proportion to others; 16 workers become one."""
    keys = r"^(study.n_trials|launch.workers)=(\d+)$"
    return re.sub(keys, lambda n: f"{n[1]}={max(1, int(n[2]) // 12)}", word)


def external(words: list[str]) -> None:
    """Files, targets, extras and services that another program is asked for must exist."""
    assert all((ROOT / word).exists() for word in words if re.match(r"docker/", word))
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
