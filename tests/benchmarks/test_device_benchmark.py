"""The benchmark command for a GPU keeps its results, even if parts fail or hang."""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.device import __main__ as command
from benchmarks.device import gpu_tests, machine, runner, smoke, summary
from benchmarks.device.runner import FIGURES, MARK, Part, run
from tests.test_architecture import imports

FINDS = "import json, sys; print('found'); json.dump({'rate': 3}, open(sys.argv[1], 'w'))"
FAILS = FINDS + "; raise SystemExit('no kernel image')"
HANGS = """
import json, subprocess, sys, time

def waits_for_the_device():
    time.sleep(600)

away = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                        start_new_session=True)
json.dump(away.pid, open(sys.argv[1], "w"))
waits_for_the_device()
"""


def is_alive(pid: int) -> bool:
    """Whether a process is there, and no zombie that its new parent has not looked after yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def part(name: str, code: str, limit: float = 60) -> Part:
    return Part(name, (sys.executable, "-c", code, FIGURES), limit)


def test_a_part_that_fails_costs_its_own_figures_alone(tmp_path):
    parts = [part("first", FINDS), part("broken", FAILS), part("last", FINDS)]
    seen = []
    for done, _ in run(parts, 60, tmp_path, {"commit": "abc"}):
        kept = runner.read(tmp_path / "results.json")
        seen.append(list(kept["parts"]))
        assert kept["commit"] == "abc"
        assert done.name == seen[-1][-1], "kept before the next one begins"
    assert seen[-1] == ["first", "broken", "last"]
    found = kept["parts"]
    assert [found[name]["outcome"] for name in found] == ["done", "failed", "done"]
    assert found["broken"]["exit_code"] == 1
    assert found["broken"]["figures"] == {"rate": 3}, "what it had until then"
    assert found["broken"]["tail"].splitlines() == ["found", "no kernel image"]
    assert found["last"]["tail"] == "found\n", "its own output alone"
    assert (tmp_path / "output.log").read_text().count("found") == 3


def test_a_part_that_hangs_is_ended_with_all_it_started_and_tells_where(tmp_path):
    result = runner.execute(part("hangs", HANGS), 1.0, tmp_path / "log")
    assert result.outcome == "stopped at its limit"
    assert "in waits_for_the_device" in result.tail, "the stack of what hung"
    assert not is_alive(result.figures), "it had a session of its own"


def test_only_processes_of_a_part_are_ended():
    others = {MARK: "theirs"}, {"OTHER": f"{MARK}=mine"}, {MARK: "mine"}
    line = [sys.executable, "-c", "print(flush=True); import time; time.sleep(600)"]
    started = [
        subprocess.Popen(line, env={**os.environ, **env}, stdout=subprocess.PIPE) for env in others
    ]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        assert list(runner.members(MARK, "mine")) == [started[2].pid]
        runner.end_all(MARK, "mine")
        assert [process.poll() for process in started] == [None, None, -9]
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_what_no_time_is_left_for_is_not_begun_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "WORTH_STARTING", 0.5)
    slow = part("slow", "import time; time.sleep(600)", limit=0.6)
    results = [result for _, result in run([slow, part("late", FINDS)], 1.0, tmp_path, {})]
    assert [result.outcome for result in results] == ["stopped at its limit", "no time left"]
    assert results[1].command == ""


def test_a_kill_in_the_midst_of_writing_leaves_the_old_figures(tmp_path, monkeypatch):
    path = tmp_path / "figures.json"
    runner.write(path, {"rate": 1})
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        runner.write(path, {"rate": 2})
    assert runner.read(path) == {"rate": 1}
    path.write_text('{"rate": ')
    assert runner.read(path) is None


def test_a_command_that_is_asked_to_leave_ends_its_part_and_keeps_the_others(tmp_path):
    code = f"""
import sys
from benchmarks.device import __main__ as command
from benchmarks.device.runner import Part
command.plan = lambda device: [
    Part("first", [sys.executable, "-c", "print('first')"], 60),
    Part("second", [sys.executable, "-c", {HANGS!r}, {str(tmp_path / "pid")!r}], 60),
]
sys.argv[1:] = ["--out", {str(tmp_path / "out")!r}, "--device", "cpu", "--commit", "abc"]
command.main()
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=runner.ROOT)
    deadline = time.monotonic() + 280
    while runner.read(tmp_path / "pid") is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.terminate()
    assert process.wait(280) == 143
    assert not is_alive(runner.read(tmp_path / "pid"))
    assert list(runner.read(tmp_path / "out" / "results.json")["parts"]) == ["first"]
    assert "| first | done |" in (tmp_path / "out" / "summary.md").read_text()


def test_without_a_gpu_nothing_is_begun(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["device", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 2
    assert "hint: --device cpu" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_part_writes_figures_and_the_dear_ones_come_last(device):
    parts = command.plan(device)
    names = [one.name for one in parts]
    assert names[:4] == ["machine", "smoke", "tests", "search"]
    assert names[-2:] == ["compile", "compiled tests"]
    assert len(set(names)) == len(names)
    for one in parts:
        assert one.command[-2:] == ("--json", FIGURES), "last, for a list before would take it"
        assert one.limit < 460


def test_smoke_trains_on_the_device_that_is_there(tmp_path, monkeypatch, capsys):
    path = tmp_path / "smoke.json"
    monkeypatch.setattr(smoke, "EPOCHS", 1)
    monkeypatch.setattr(sys, "argv", ["smoke", "--device", "cpu", "--json", str(path)])
    with pytest.raises(SystemExit) as stop:
        smoke.main()
    found = runner.read(path)
    assert not stop.value.code, capsys.readouterr()
    assert list(found) == ["device=null", "device=cpu", "deterministic", "final", "fp32"]
    assert found["deterministic"]["device"] == "cpu"


def test_smoke_goes_on_after_a_case_that_cannot_start(tmp_path, monkeypatch, capsys):
    path = tmp_path / "smoke.json"
    cases = {"wrong": ("nonsense", {}), "right": ("cpu", {})}
    monkeypatch.setattr(smoke, "EPOCHS", 1)
    monkeypatch.setattr(smoke, "cases", lambda _: cases)
    monkeypatch.setattr(sys, "argv", ["smoke", "--device", "cpu", "--json", str(path)])
    with pytest.raises(SystemExit) as stop:
        smoke.main()
    assert stop.value.code
    found = runner.read(path)
    assert found["wrong"]["error"].startswith("ConfigError: ")
    assert "accuracy" in found["right"]


def test_smoke_names_a_gpu_in_every_way(monkeypatch):
    cases = smoke.cases("cuda")
    assert [cases[name][0] for name in list(cases)[:3]] == [None, "cuda", "cuda:0"]
    assert cases["deterministic"][1] == {"deterministic": True}
    assert cases["captured"][1] == {"graph": "graph"}


def recorded(directory: Path, limit: float, *texts: str) -> tuple[int, dict[str, Any]]:
    """How many files of these texts failed, and the tests' outcomes, by another process."""
    paths = [directory / f"test_{number}.py" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(f"import pytest\npytestmark = pytest.mark.gpu\n{text}")
    options = ["--rootdir", str(runner.ROOT), "-c", str(runner.ROOT / "pyproject.toml")]
    code = (
        "from pathlib import Path; from benchmarks.device import gpu_tests;"
        "gpu_tests.preload = lambda: None;"
        f"print(gpu_tests.run([Path(p) for p in {list(map(str, paths))}], {options!r},"
        f" Path({str(directory / 'found.json')!r}), {limit}))"
    )
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=runner.ROOT, capture_output=True, text=True, check=True)
    kept = runner.read(directory / "found.json") or {}
    found = {name.split("::")[1]: test for name, test in kept.items()}
    return int(done.stdout.splitlines()[-1]), found


def test_outcomes_of_tests_are_kept_as_they_come(tmp_path):
    """A file whose tests end the process costs its own, and it is told which it was."""
    ends = "import os\ndef test_a(): pass\ndef test_b(): os._exit(3)\n"
    fails = "def test_c(): assert 1 + 1 == 3\n"
    failures, found = recorded(tmp_path, 60, ends, fails)
    assert failures == 2
    outcomes = {name: test["outcome"] for name, test in found.items()}
    assert outcomes == {"test_a": "passed", "test_b": "running", "test_c": "failed"}
    assert "assert (1 + 1) == 3" in found["test_c"]["reason"]


def test_a_file_of_tests_that_does_not_end_is_ended(tmp_path):
    hangs, passes = "import time\ndef test_a(): time.sleep(600)\n", "def test_b(): pass\n"
    for limit in (1.0, 5.0, 25.0, 125.0):  # the first will do, unless the machine is slow
        failures, found = recorded(tmp_path, limit, hangs, passes)
        if (failures, len(found)) == (1, 2):
            break
    outcomes = {name: test["outcome"] for name, test in found.items()}
    assert outcomes == {"test_a": "running", "test_b": "passed"}
    assert failures == 1


def test_the_files_with_tests_for_a_gpu_are_found():
    names = {path.name for path in gpu_tests.files()}
    assert {"test_cuda_graph.py", "test_learner.py", "test_batches.py", "test_fused.py"} <= names
    assert "test_plan.py" not in names


imported = functools.cache(imports)


def libraries(path: Path) -> set[str]:
    """What a file imports that is not of this repository, through all that it imports of it."""
    found, seen, waiting = set(), set(), [path]
    while waiting:
        for name in imported(waiting.pop()) - seen:
            seen.add(name)
            place = runner.ROOT / name.replace(".", "/")
            own = [place.with_suffix(".py"), place / "__init__.py"]
            waiting += [file for file in own if file.exists()]
            found.add(name.split(".")[0])
    return found


def test_a_bare_machine_has_what_tests_for_a_gpu_import():
    lacking = {"optuna", "hydra", "omegaconf", "sqlalchemy", "hypothesis"}
    assert {path.name: libraries(path) & lacking for path in gpu_tests.files()} == {
        path.name: set() for path in gpu_tests.files()
    }
    assert "optuna" in libraries(runner.ROOT / "tests" / "worker" / "test_trial.py")


def test_the_machine_is_described_with_what_it_lacks(monkeypatch):
    monkeypatch.setattr(machine, "_version", lambda name: None if name == "optuna" else "1")
    found = machine.describe()
    assert found["missing"] == ["optuna"]
    assert found["cores"] == len(os.sched_getaffinity(0))
    json.dumps(found)


def results(**parts: Any) -> Mapping[str, Any]:
    made = {
        name: {"outcome": "done", "seconds": 3.0, "limit": 60.0, "figures": figures}
        for name, figures in parts.items()
    }
    return {"commit": "abc", "date": "today", "device": "cuda", "command": "", "parts": made}


def test_a_goal_that_is_missed_stands_out_and_a_missing_figure_is_a_dash():
    text = summary.markdown(
        results(
            paired={"fashion-noise": {"paired": {"ratio": 0.85}},
                    "cifar-noise": {"paired": {"ratio": 0.95}}},
            gap={"fashion-noise": {"gap": {"same": 0.04, "new": 0.2}}},
            ladder={"cifar-noise": {"ladder": {
                "eager": {"step_ms": 0.9, "setup_s": 0.1, "repaid_after_steps": None},
                "graph": {"step_ms": 0.2, "setup_s": 0.3, "repaid_after_steps": 285.7}}}},
        )
    )  # fmt: skip
    lines = text.splitlines()
    assert "| what | Fashion-MNIST's size | CIFAR-10's size | goal |" in lines
    first = "| images a second, of the bare resident loop's | **0.85** (missed) | 0.95 | 0.90 |"
    assert first in lines
    assert "| … of a shape never seen before | **0.200 s** (missed) | - | 0.150 s |" in lines
    assert "| ladder: graph, CIFAR-10's size | 0.200 | 0.30 | 286 |" in lines
    assert any(line.startswith("| steps after which a captured step") and "286" in line
               for line in lines)  # fmt: skip


def test_tests_that_failed_are_named_with_their_last_line():
    tests = {
        "tests/train/test_cuda_graph.py::test_a": {"outcome": "passed"},
        "tests/train/test_cuda_graph.py::test_b": {
            "outcome": "failed",
            "reason": "…\nE  CUDA error\n",
        },
        "tests/train/test_fused.py::test_c": {"outcome": "running"},
    }
    text = summary.markdown(results(tests=tests))
    assert "Tests marked `gpu`: 1 failed, 1 passed, 1 running." in text
    assert "- `tests/train/test_cuda_graph.py::test_b` failed: E  CUDA error" in text
    assert "- `tests/train/test_fused.py::test_c` running: it did not end" in text


def test_a_run_of_which_nothing_came_is_a_table_of_parts():
    made = results(machine=None, trials=None, search=None)
    made["parts"]["late"] = {"outcome": "no time left", "seconds": 0.0, "limit": 0.0}
    text = summary.markdown(made)
    assert text.startswith("`python -m benchmarks.device`: cuda; no GPU; torch -;")
    assert "| late | no time left | 0 | 0 |" in text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_described():
    assert machine.gpu("cuda")["name"] == torch.cuda.get_device_name()
    assert machine.describe()["nvidia-smi"][0]["driver_version"]
