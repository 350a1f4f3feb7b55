"""A user's Hydra application is searched unchanged, by `--app` and by `hydra/sweeper=tuner`."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from optuna.trial import TrialState

from tuner import objective
from tuner.config import program
from tuner.config.application import ApplicationSource
from tuner.config.composition import Source
from tuner.errors import ConfigError, Pruned
from tuner.space import corner_checks, mandatory
from tuner.space.tree import Space
from tuner.study import plan, study
from tuner.worker import trial

APP = """
import os
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig

from tuner.objective import report


@hydra.main(version_base="1.3", config_path="conf", config_name="main")
def main(cfg):
    out = Path(HydraConfig.get().runtime.output_dir)
    saved = out / "epoch.txt"
    done = int(saved.read_text()) if saved.exists() else 0
    value = cfg.model.scale * (1 - (cfg.x - 0.3) ** 2)
    for epoch in range(done + 1, cfg.epochs + 1):
        saved.write_text(str(epoch))
        with open(cfg.journal, "a") as journal:
            journal.write(f"{out.name} {epoch} {os.getpid()}\\n")
        if cfg.fate == "die" and epoch == 2 and not done:
            os.kill(os.getpid(), 9)
        if cfg.fate == "raise":
            raise ZeroDivisionError("the application's own mistake")
        report(epoch, accuracy=value * epoch / cfg.epochs)
    return value


if __name__ == "__main__":
    main()
"""
TYPED = """
from dataclasses import dataclass

import hydra
from hydra.core.config_store import ConfigStore


@dataclass
class Config:
    width: int = 3


ConfigStore.instance().store(name="typed_config", node=Config)


@hydra.main(version_base="1.3", config_path=None, config_name="typed_config")
def train(cfg):
    return float(cfg.width)


def another(cfg):
    return 0.0
"""
FILES = {
    "my app.py": APP,
    "typed.py": TYPED,
    "inner/__init__.py": "",
    "inner/double.py": "def double(x):\n    return 2 * x\n",
    "inner/part/__init__.py": "",
    "inner/part/app.py": TYPED.replace("float(cfg.width)", "float(double(cfg.width))").replace(
        "import hydra\n", "import hydra\n\nfrom ..double import double\n", 1
    ),
    "conf/main.yaml": (
        "defaults: [model: small, _self_]\n"
        "x: 0.5\nepochs: 4\nfate: none\nseed: 1\njournal: ${oc.env:PWD}/journal.txt\n"
        "worker: the application's own\n"
    ),
    "conf/model/small.yaml": "scale: 1.0\n",
    "conf/model/large.yaml": "scale: 2.0\nextra: 3\n",
    "conf/space/both.yaml": "x: interval(0, 1)\nmodel: {small: {}, large: {model.extra: 1}}\n",
}


@pytest.fixture
def there(tmp_path, monkeypatch) -> Iterator[Path]:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    forget()
    ApplicationSource.options.cache_clear()
    ApplicationSource._has_seed.cache_clear()
    yield tmp_path
    forget("my app", "typed", "broken", "inner", "lacking")


def forget(*names: str) -> None:
    """As a process that has not imported them."""
    for known in [name for name in sys.modules if name.partition(".")[0] in names]:
        del sys.modules[known]
    program.load.cache_clear()
    program._imported.cache_clear()


def source(app: str = "my app.py", **more) -> ApplicationSource:
    return ApplicationSource((), "", app=app, **more)


def test_overrides_are_the_applications_but_for_our_sections(there):
    cfg = source().compose(["x=0.25", "model=large", "study.n_trials=7", "seed=9", "+new=1"])
    assert (cfg.x, cfg.model.scale, cfg.seed, cfg.new) == (0.25, 2.0, 9, 1)
    assert (cfg.study.n_trials, cfg.study.name) == (7, "my app")
    assert list(cfg.objective.overrides) == ["x=0.25", "model=large", "seed=9", "+new=1"]
    assert cfg.worker.heartbeat == 5, "ours hides a section of that name of the application's"
    assert "data" not in cfg
    same = source("my app.py:main").compose(["x=0.25"]).objective
    assert same == source(str(there / "my app.py")).compose(["x=0.25"]).objective


def test_its_own_defaults_are_tried_first(there):
    asked = ["x=interval(0,1)", "model=choice(small,large)"]
    cfg, choices = source().compose_with_choices([])
    (item,) = plan.load(source(), asked).require().queue
    assert dict(item.params) == {"x": cfg.x, "model": choices["model"]}


def test_it_runs_as_hydra_runs_it(there):
    told = []
    cfg = source().compose(["x=0.3", "hydra.job.chdir=true", "epochs=2"])
    value = trial.run(cfg, run_dir=there / "a run", report=lambda *a, **m: told.append((a, m)))
    assert value == 1.0
    assert told == [((1,), {"accuracy": 0.5}), ((2,), {"accuracy": 1.0})]
    assert (there / "a run" / "epoch.txt").read_text() == "2", "its output directory is the trial's"
    assert Path.cwd() == there
    assert HydraConfig.instance().cfg is None


def test_its_command_line_can_be_run_again(there):
    """Lightning does so, to start the other ranks of a training."""
    before, told = (sys.argv, sys.modules["__main__"].__spec__), []

    def report(step: int, **metrics: float) -> None:
        if step == 1:
            told.extend([sys.modules["__main__"].__spec__, *sys.argv])

    cfg = source().compose(["epochs=2", "x=0.3"])
    trial.run(cfg, run_dir=there / "run", report=report)
    assert (sys.argv, sys.modules["__main__"].__spec__) == before
    assert told[:2] == [None, str(there / "my app.py")]
    again = subprocess.run([sys.executable, *told[1:]], cwd=there, check=False)
    assert again.returncode == 0
    rows = [line.split() for line in (there / "journal.txt").read_text().splitlines()]
    assert [(row[0], row[1]) for row in rows] == [("run", "1"), ("run", "2")]  # it was complete
    assert "x=0.3" in told


def test_what_it_raises_and_what_report_raises_pass_through(there):
    with pytest.raises(ZeroDivisionError, match="own mistake"):
        trial.run(source().compose(["fate=raise"]), run_dir=there / "a", report=print)

    def prune(*_: object, **__: object) -> None:
        raise Pruned

    with pytest.raises(Pruned):
        trial.run(source().compose([]), run_dir=there / "b", report=prune)
    assert objective.run_dir() is None


def test_a_space_of_its_own_and_its_groups(there):
    found = plan.load(source(), ["space=both"]).require()
    assert [p.name for p in found.space.parameters()] == ["x", "model"]
    found = plan.load(source(), ["x=interval(0,1)", "model=glob(*)"]).require()
    assert {p.key: str(p.distribution) for p in found.space.parameters()} == {
        "x": "float 0 to 1",
        "model": "one of large, small",
    }


@pytest.mark.parametrize(
    ("swept", "hint"),
    [
        ("epochs=interval(1,8)", "hint: int\\(interval\\(1, 8\\)\\) for integers only"),
        ("epochs=tag(log,interval(1,8))", "hint: int\\(tag\\(log, interval\\(1, 8\\)\\)\\)"),
        ("epochs=int(interval(1,8))", ""),
        ("epochs=interval(1.5,8)", ""),
        ("x=interval(0,1)", ""),
    ],
)
def test_fractions_in_the_place_of_a_whole_number_are_warned_of(there, swept, hint):
    """Nobody has said its type, so it is no mistake."""
    found = plan.load(source(), [swept]).require()
    warned = "\n".join(map(str, corner_checks.fractions(found.cfg, found.space)))
    assert re.search(hint, warned) if hint else warned == ""


@pytest.mark.parametrize(
    ("override", "cure"),
    [
        ("model=smal", "did you mean 'small'?"),
        ("modle.scale=1", "did you mean 'model.scale'?"),
        ("model.extra=1", "it belongs to model=large"),
        ("study.n_trails=1", "did you mean 'study.n_trials'?"),
        ("worker.concurrency=2", "hint: use launch.workers, which starts processes"),
        ("y=interval(0,1)", "y: unknown key"),
    ],
)
def test_mistakes_are_found_before_any_work(there, override, cure):
    with pytest.raises(ConfigError) as caught:
        plan.load(source(), ["x=interval(0,1)", override]).require()
    assert cure in str(caught.value)


@pytest.mark.parametrize(
    ("app", "cure"),
    [
        ("nowhere.py", "no such file"),
        ("no_such_module", "cannot be imported"),
        ("typed.py:another", "hint: --app typed.py:FUNCTION"),
        ("broken.py", "cannot be imported: NameError"),
        ("json", "expected one function with @hydra.main, got none"),
    ],
)
def test_an_application_that_is_none(there, app, cure):
    (there / "broken.py").write_text("nothing_of_the_kind\n")
    with pytest.raises(ConfigError) as caught:
        source(app).compose([])
    assert cure in str(caught.value)


@pytest.mark.parametrize("app", ["inner/part/app.py", "inner.part.app"])
def test_a_module_of_a_package_may_import_its_neighbours(there, monkeypatch, app):
    """However it is named, it is run by its file, in a process that knows no more."""
    monkeypatch.syspath_prepend(there)
    cfg = source(app).compose(["width=4"])
    assert cfg.objective.app == "inner/part/app.py:train"
    forget("inner")
    assert trial.run(cfg, run_dir=there / "a", report=print) == 8.0


def test_what_an_application_stores_in_code_is_not_ours(there, monkeypatch):
    """A configuration named ``config`` as ours is, and an option of one of our groups."""
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", {**store.repo})
    store.store(name="config", node={"lr": 0.1})
    store.store(group="optimizer", name="adamw", node={"lr": 0.1, "_target_": 1})
    anew = ["optimizer=adamw", "hydra.job.name=anew"]  # whatever other tests have composed
    assert Source().compose(anew).optimizer._target_ == "torch.optim.AdamW"
    text = TYPED.replace("typed_config", "config").replace("width: int", "lr: int")
    (there / "typed.py").write_text(text.replace("cfg.width", "cfg.lr"))
    cfg = source("typed.py").compose(["lr=4", "study.n_trials=7"])
    assert (cfg.lr, cfg.study.n_trials) == (4, 7)


LACKING = {
    "yaml": "x: ???\n",
    "code": TYPED.replace("width: int = 3", "x: float = MISSING").replace("cfg.width", "cfg.x"),
}


@pytest.mark.parametrize("kind", LACKING)
def test_a_key_without_a_value_can_be_searched(there, kind):
    (there / "conf/main.yaml").write_text(LACKING["yaml"])
    text = (
        APP.replace("cfg.model.scale", "1")
        if kind == "yaml"
        else f"from omegaconf import MISSING\n{LACKING['code']}"
    )
    (there / "lacking.py").write_text(text)
    asked = plan.load(source("lacking.py"), ["x=interval(0.5,1)"]).require()
    assert [p.key for p in asked.space.parameters()] == ["x"]
    assert [dict(item.params) for item in asked.queue] == []
    assert source("lacking.py").compose(["x=0.5"]).x == 0.5
    assert "???" in asked.base_text
    assert mandatory.doubts(asked.source, asked.cfg, asked.space) == []
    with pytest.raises(ConfigError, match=r"^x: is mandatory .*; hint: x=VALUE"):
        trial.run(source("lacking.py").compose([]), run_dir=there / "a", report=print)
    (doubt,) = mandatory.doubts(asked.source, asked.cfg, Space())
    assert (doubt.key, doubt.problem) == ("x", "is mandatory (???), but has no value")
    assert doubt.hint.startswith("x=VALUE, or search it, unless")


def test_a_group_of_which_an_option_must_be_given_can_be_searched(there):
    text = (there / "conf/main.yaml").read_text().replace("model: small", "model: '???'")
    (there / "conf/main.yaml").write_text(text)
    found = plan.load(source(), ["space=both"]).require()
    assert found.pins == ()
    with pytest.raises(ConfigError) as caught:
        plan.load(source(), ["x=interval(0,1)", "y=1"]).require()
    told = str(caught.value)
    assert (
        "model: is mandatory (???), but has no value; hint: model=large or small, or search it"
        in told
    )
    assert "y: unknown key" in told


def test_a_key_of_the_command_lines_own_can_be_searched(there):
    """As Hydra's multirun adds it; the study knows it by its name, without the plus."""
    asked = plan.load(source(), ["+new=interval(0.25,0.5)", "++x=choice(0.5)"]).require()
    assert [p.name for p in asked.space.parameters()] == ["new", "x"]
    overrides = asked.space.overrides({"new": 0.25, "x": 0.5})
    assert overrides == ["+new=0.25", "++x=0.5"]
    assert source().compose(overrides).new == 0.25
    assert "new" in next(iter(asked.space.rows())).values()
    with pytest.raises(
        ConfigError, match=r"space.x: already exists.*; hint: write x=… without the \+"
    ):
        plan.load(source(), ["+x=interval(0,1)"]).require()


def test_a_configuration_in_code_keeps_its_types(there):
    cfg = source("typed.py").compose(["width=4"])
    assert trial.run(cfg, run_dir=there / "a", report=print) == 4.0
    with pytest.raises(ConfigError, match="could not be converted to Integer"):
        plan.load(source("typed.py"), ["width=interval(1, 2.5)"]).require()


def test_outside_of_a_search_nothing_is_reported(there):
    objective.report(1, accuracy=0.5)
    done = subprocess.run(
        [sys.executable, "my app.py", "x=0.1", "hydra.run.dir=alone"],
        cwd=there, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert (there / "alone/epoch.txt").read_text() == "4"


@pytest.mark.slow
def test_hydras_own_command_line_searches_prunes_and_resumes(there):
    """Parallel workers, one of which dies in each first attempt; then the same study by `--app`."""

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command], cwd=there, capture_output=True, text=True, check=False,
            env=os.environ | {"NO_COLOR": "1", "PWD": str(there)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    settings = "{study.n_trials: 4, launch.workers: 2, sampler: random, pruner: none}"
    out = run(
        "my app.py", "-m", "hydra/sweeper=tuner", f"hydra.sweeper.settings={settings}",
        "x=interval(0,1)", "fate=die",
    )  # fmt: skip
    assert "best:" in out
    assert "tuner train '--app=" in out
    journal = [line.split() for line in (there / "journal.txt").read_text().splitlines()]
    assert Counter(Counter(name for name, _, _ in journal).values()) == {4: 4}, (
        "resumed, not redone"
    )
    assert len({pid for _, _, pid in journal}) >= 4
    found = study.load(f"sqlite:///{there}/runs/tuner.db", "my app", grace=60, patience=5)
    states = Counter(t.state for t in found.optuna.get_trials())
    assert states[TrialState.COMPLETE] == 4
    app = ["-m", "tuner", "tune", "--app=my app.py"]
    again = run(*app, "study.n_trials=5", "x=interval(0,1)", "fate=die", "pruner=median",
                "pruner.n_startup_trials=0", "pruner.n_warmup_steps=0", "pruner.n_min_trials=1",
                "launch.workers=1", "sampler=random")  # fmt: skip
    assert "best:" in again
    words = ("x=interval(0,1)", "fate=die")
    best = json.loads(run("-m", "tuner", "best", "--json", "--app=my app.py", *words))
    repeated = run("-m", "tuner", "train", "--app=my app.py", *best["overrides"], "fate=none")
    assert json.loads(repeated)["accuracy"] == best["value"]
