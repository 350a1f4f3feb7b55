"""Tab completion, also in the real shells where they are installed."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuner.cli.completion import Offers
from tuner.cli.parser import COMMANDS
from tuner.config.packaged_files import directory

BIN = Path(sys.executable).parent
ENVIRONMENT = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "dumb"}


def offers(line: str, *more: Path) -> list[str]:
    *words, prefix = line.split(" ")
    return Offers([*more, directory("conf")], "config", words).of(prefix)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("opt", ["optimizer=", "optimizer."]),
        ("optimizer=s", ["optimizer=sgd"]),
        ("optimizer.l", ["optimizer.lr="]),
        ("optimizer=sgd optimizer.mo", ["optimizer.momentum="]),
        ("optimizer.mo", []),
        ("data.augment.sh", ["data.augment.shift="]),
        ("experiment=fashion_mnist data.n", ["data.name="]),
        ("experiment=fashion_mnist data=digits data.n", []),
        (
            "trainer.precision=",
            [f"trainer.precision={p}" for p in ("auto", "bf16", "tf32", "fp32")],
        ),
        ("model.batch_norm=", ["model.batch_norm=true", "model.batch_norm=false"]),
        ("model.width=", []),
        ("+mod", ["+model=", "+model."]),
        ("seed", ["seed="]),
    ],
)
def test_groups_options_keys_and_values(line, expected):
    assert offers(line) == expected


def test_a_users_own_options_and_a_broken_file(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("colour: red # red | blue (or so) | ${x}\n")
    assert "model=mine" in offers("model=", tmp_path)
    assert offers("model=mine model.", tmp_path) == ["model.colour="]
    assert offers("model=mine model.colour=b", tmp_path) == ["model.colour=blue"]
    (tmp_path / "model" / "empty.yaml").write_text("")
    assert offers("model=empty model.", tmp_path) == []


def ask(line: str) -> str:
    """What the command itself answers to a shell."""
    read, write = os.pipe()
    script = f"exec 8>&{write}; exec tuner"
    asked = ENVIRONMENT | {
        "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": " ", "_ARGCOMPLETE_SHELL": "bash",
    }  # fmt: skip
    subprocess.run(
        ["bash", "-c", script], env=asked, pass_fds=[write], check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as answer:
        return answer.read()


def test_it_answers_at_once():
    """Under 0.3 s; CPU time is counted, for the machine may be busy."""
    spent = []
    for _ in range(3):
        before = os.times()
        assert "optimizer=sgd" in ask("tuner tune optimizer=")
        after = os.times()
        used = after.children_user + after.children_system
        spent.append(used - before.children_user - before.children_system)
    assert min(spent) < 0.3


def test_commands_and_options():
    assert set(ask("tuner ").split()) == set(COMMANDS)
    assert ask("tuner best --js").split() == ["--json"]
    assert ask("tuner study re").split() == ["rename"]
    assert ask("tuner trials digits --state co").split() == ["complete"]


def test_bash():
    script = """
    source <(tuner completion bash)
    COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
    for line in 'tuner tune opt' 'tuner tune optimizer=s' 'tuner compl'; do
        COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9 COMPREPLY=()
        _python_argcomplete tuner
        echo "${COMPREPLY[*]}"
    done
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    # bash itself puts back what stands before the =
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["optimizer=", "optimizer."],
        ["sgd"],
        ["completion"],
    ]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish():
    script = "tuner completion fish | source; complete -C 'tuner tune optimizer=sg'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], env=ENVIRONMENT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["optimizer=sgd"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh():
    """zsh completes only on a terminal: type into one."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], ENVIRONMENT)
    setup = (
        'autoload -Uz compinit && compinit -u -D; eval "$(tuner completion zsh)"; print re"ady"\n'
    )
    os.write(terminal, setup.encode())
    assert await_text(terminal, "ready")
    os.write(terminal, b"tuner tune optimizer=lio\t")
    found = await_text(terminal, "optimizer=lion")
    os.write(terminal, b"\x15exit\n")
    os.waitpid(pid, 0)
    os.close(terminal)
    assert found


def await_text(terminal: int, text: str, seconds: float = 60) -> bool:
    seen, end = "", time.monotonic() + seconds
    while text not in seen and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
    return text in seen
