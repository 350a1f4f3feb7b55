"""A command line becomes a plan, or all of its errors are reported together."""

from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tests.space.test_grammar import Drawn
from tuner.algorithms.pruners.factory import build_pruner
from tuner.algorithms.samplers.factory import build_sampler
from tuner.algorithms.samplers.grid import Grid
from tuner.api import search_checks
from tuner.config import instantiation, override_parser, signatures
from tuner.config.composition import CONF, Source
from tuner.errors import ConfigError, Mistake
from tuner.space.grid import grid
from tuner.study import plan

GROUPS = sorted(
    {p.parent.name for p in CONF.glob("*/*.yaml")} - {"experiment", "objective", "storage"}
)
MOST = max(len([*(CONF / group).glob("*.yaml")]) for group in GROUPS)


def mistakes(source: Source, *overrides: str) -> list[Mistake]:
    """What is wrong with a command line; with ``space=none`` no edge of a space is tried."""
    found = plan.load(source, overrides)
    return [*found.mistakes, *search_checks.mistakes(found)]


@pytest.mark.parametrize("number", range(MOST))
def test_every_yaml_composes_and_binds(source, number):
    """One option of each group at a time; groups with fewer options begin again."""
    options = {group: source.options(group) for group in GROUPS}
    chosen = [f"{group}={names[number % len(names)]}" for group, names in options.items()]
    assert signatures.check(source.compose(chosen)) == []


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=str)
def test_every_experiment_is_a_valid_plan(source, path):
    found = mistakes(source, f"experiment={path.stem}")
    assert [m for m in found if not m.hint.startswith("data.root=DIR")] == []


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "sampler").glob("*.yaml")))
def test_every_sampler_builds_and_refuses_a_typo(source, name):
    space = ["space=none", "model.kernel_size=choice(3,5)"]
    found = plan.load(source, [f"sampler={name}", *space]).require()
    built = build_sampler(found.cfg, found.space, seed=1)
    assert isinstance(built, optuna.samplers.BaseSampler)
    assert mistakes(source, f"sampler={name}", *space, "+sampler.sed=1")


@pytest.mark.parametrize(
    ("budget", "cost"),
    [
        ("study.n_trials=9", "none"),
        ("budget.epochs=90", "none"),
        ("budget.hours=9", "seconds"),
        ("budget.device_hours=9", "seconds"),
    ],
)
def test_gains_are_divided_by_seconds_if_the_budget_is_in_time(source, budget, cost):
    plain = [budget, "space=none", "model.dropout=interval(0,0.9)"]
    for asked, expected in (plain, cost), ([*plain, "sampler.cost=none"], "none"):
        found = plan.load(source, asked).require()
        assert build_sampler(found.cfg, found.space, seed=1).costs.cost == expected


@pytest.mark.parametrize("name", ["random", "optuna_tpe", "tpe", "forest", "gp", "nsga2", "cmaes"])
def test_a_seed_of_the_samplers_own_still_draws_each_trial_anew(source, name):
    """A sampler is made for each trial: one seed for all would propose the same to all."""
    asked = [f"sampler={name}", "sampler.seed=5", "space=none", "model.dropout=interval(0,0.9)"]
    found = plan.load(source, asked).require()

    def drawn(seed: int) -> object:
        study = optuna.create_study(sampler=build_sampler(found.cfg, found.space, seed))
        return study.ask().suggest_float("model.dropout", 0, 0.9)

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(4)}) == 4


def test_a_sequence_that_all_trials_share_keeps_its_seed(source):
    asked = ["sampler=qmc", "sampler.seed=5", "space=none", "model.dropout=interval(0,0.9)"]
    found = plan.load(source, asked).require()
    assert {build_sampler(found.cfg, found.space, seed)._seed for seed in (1, 2)} == {5}


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "pruner").glob("*.yaml")))
def test_every_pruner_builds(source, name):
    asked = [f"pruner={name}", "space=none", "model.dropout=interval(0,0.9)"]
    found = plan.load(source, asked).require()
    assert isinstance(build_pruner(found.cfg), optuna.pruners.BasePruner)


OF_THE_SPACE = ("space.schedule: the group has no option 'cosin'", "is conditional")
"""What only parameters under choices of the built-in space can be told."""


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model.kernel_sze=3"], "model.kernel_sze: unknown key; hint: did you mean"),
        (["optimizer=sgd2"], "optimizer: the group has no option 'sgd2'; hint: did you mean 'sgd'"),
        (["optimizer=adamw", "optimizer.momentum=0.9"], "hint: it belongs to optimizer="),
        (["optimizer=adamw", "optimizer.momentum=interval(0,1)"], "belongs to optimizer="),
        (["schedule=choice(cosine,cosin)"], "space.schedule: the group has no option 'cosin'"),
        (["model.width=interval(16,64)"], "write int(interval(a, b))"),
        (["model.width=tag(log,int(interval(0,64)))"], "must start above 0"),
        (["model.activation=choice(relu,relux)"], "got 'relux'"),
        (["model.activation=relux"], "expected 'relu' |"),
        (["trainer.epochs=abc"], "trainer.epochs: expected int of 1 or more, got 'abc'"),
        (["trainer.epochs=1.5"], "trainer.epochs: expected int of 1 or more, got 1.5"),
        (["model.batch_norm=1"], "model.batch_norm: expected bool"),
        (["study.n_trials=0"], "expected int of 1 or more"),
        (["study.direction=up"], "'maximize' | 'minimize'"),
        (["study.n_trials=choice(1,2)"], "cannot be searched"),
        (["seed=choice(1,2)"], "cannot be searched"),
        ([], "nothing to search"),
        (["study.metric=loss"], "hint: study.direction=minimize"),
        (["worker.concurrency=4"], "hint: trainer.fused=4 gives each its own"),
        (["pruner=median", "pruner.n_startup_trials=-1"], "pruner: ValueError"),
        (["pruner.rungs=[0.3,0.1]"], "pruner.rungs: expected ascending fractions"),
        (["pruner.keep=1.5"], "pruner.keep: expected"),
        (["model.width=interval(4,2)"], "4 is not below 2; hint: interval(2, 4)"),
        (["model.width=interval(1e-3)"], "'end'; hint: interval(low, high), or tag(log, "),
        (
            ["model.width=interval(a,b)"],
            "interval(): text is not allowed there; hint: interval(low, ",
        ),
        (["model.width=choice(1,null)"], "model.width: expected int of 1 or more, got None"),
        (
            ["hydra.run.dir=x"],
            "hydra.run.dir: has no effect here; hint: Hydra settings of the --app program only",
        ),
        (
            [f"study.name={300 * 'x'}"],
            "study.name: is too long for the name of a directory: 300 bytes; hint",
        ),
        (
            [f"study.name='{101 * 'é'}'"],
            "study.name: is too long for the name of a directory: 202 bytes; hint",
        ),
        (["model.width=range(9,1)"], "is empty; hint: a start below the stop, or a step below 0"),
        (["optimizer.betas=[0.9]"], "expected [float, float] from 0 to below 1, got [0.9]"),
        (["optimizer.betas=[a,b]"], "expected [float, float] from 0 to below 1, got ['a', 'b']"),
        (["sampler=grid"], "is conditional"),
        (["objective._target_=nowhere.train"], "no module 'nowhere'"),
        (["objective._target_=textwrap.dedent"], "has no parameter 'report'"),
        (["model.width=int(interval(16"], "cannot be parsed"),
        (["+model.colour=3"], "model.colour: unknown key"),
    ],
)
def test_a_mistake_is_named_with_its_cure(source, overrides, expected):
    space = [] if expected in OF_THE_SPACE else ["space=none"]
    found = mistakes(source, *space, *overrides)
    assert any(expected in str(mistake) for mistake in found), found


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer.lr=-1"],
        ["model.width=abc"],
        ["space=none", "optimizer.lr=interval(0,1"],
        ["space=none", "optimizer.lr=interval(1,0)"],
        ["space=none", "optimizer.lr=interval(-2,-1)"],
        ["space=none", "optimizer.lr=tag(log,interval(0,1))"],
        ["space=none", "model.width=range(1,10,0)"],
        ["space=none", "model.width=interval(0,64)"],
        ["space=none", "model.width=interval(a,b)"],
        ["space=none", "model.width=choice()"],
    ],
)
def test_one_wrong_value_is_one_mistake(source, overrides):
    assert len(mistakes(source, *overrides)) == 1


def lacking(x: float, y: float = 0.0, *, report) -> float:
    return x + y


@pytest.fixture
def mine(tmp_path) -> Source:
    """An objective whose ``x`` has no value, and two that refer to a key without one."""
    path = tmp_path / "conf/objective/mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("_target_: tests.study.test_plan.lacking\nx: ???\n")
    text = "_target_: tests.study.test_plan.lacking\nx: ${rate}\ny: ${rate}\n"
    (path.parent / "referring.yaml").write_text(text)
    (tmp_path / "conf/experiment").mkdir()
    (tmp_path / "conf/experiment/rate.yaml").write_text("# @package _global_\nrate: ???\n")
    return Source((tmp_path / "conf",))


@pytest.mark.parametrize(
    ("key", "more"),
    [("objective.x", ["objective=mine"]), ("rate", ["objective=referring", "experiment=rate"])],
)
def test_a_value_that_nothing_gives_is_one_mistake_and_none_if_it_is_searched(mine, key, more):
    (told,) = mistakes(mine, *more, "space=none", "worker.grace=1")[:1]
    assert told == Mistake(
        key, "is mandatory (???), but has no value", f"{key}=VALUE, or search it"
    )
    asked = plan.load(mine, [*more, "space=none", f"{key}=interval(0,1)"]).require()
    assert asked.space.overrides({key: 0.5}) == [f"{key}=0.5"]
    assert asked.queue == (), "there are no defaults to try"
    assert "???" in asked.base_text, "no sample of the space in its place"
    (told,) = mistakes(mine, *more, "space=none", f"{key}=choice(a)")
    assert (told.key, told.problem) == (key, "expected float, got 'a' (str)")


def test_a_keyword_with_a_default_need_not_be_repeated(mine):
    """It is searched, pinned and trained as any other, and judged by the signature."""
    asked = ["objective=mine", "space=none", "objective.x=1"]
    found = plan.load(mine, [*asked, "objective.y=interval(0,1)"]).require()
    assert found.queue == (), "its default is known to Python alone"
    overrides = [*found.pins, *found.space.overrides({"objective.y": 0.25})]
    cfg = plan.load(mine, overrides, search=False).require().cfg
    assert instantiation.instantiate(cfg.objective, report=None) == 1.25
    for wrong in ("objective.y=choice(0,a)", "objective.y=a"):
        (told,) = [m for m in mistakes(mine, *asked, wrong) if m.key == "objective.y"]
        assert told.problem == "expected float, got 'a' (str)"
    for key in ("objective.z", "objective.report"):
        found = mistakes(mine, *asked, f"{key}=interval(0,1)")
        assert (f"space.{key}", "unknown key") in [(m.key, m.problem) for m in found]


def test_a_byte_order_mark_that_hides_a_package_is_told(mine, tmp_path):
    file = tmp_path / "conf/experiment/rate.yaml"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    with pytest.raises(ConfigError, match=r"rate.yaml: begins with a byte-order mark, so"):
        plan.load(mine, ["objective=referring", "experiment=rate"])


def test_null_is_an_option_in_quotes(mine, tmp_path):
    path = tmp_path / "conf/space/mine.yaml"
    path.parent.mkdir()
    path.write_text("objective.y: {null: {objective.x: 'interval(0,1)'}, 1: {objective.x: 2}}\n")
    with pytest.raises(ConfigError, match='hint: in a YAML file, the key null is written "null"'):
        plan.load(mine, ["objective=mine", "space=mine"])
    path.write_text(path.read_text().replace("null", '"null"'))
    asked = plan.load(mine, ["objective=mine", "space=mine"])
    assert asked.space.overrides({"objective.y": None, "objective.x@null": 0.5}) == [
        "objective.y=null",
        "objective.x=0.5",
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("range(0,1,0.25)", [0.0, 0.25, 0.5, 0.75]),
        ("range(0,0.4,0.1)", [0.0, 0.1, 0.2, 0.3]),
        ("float(range(0,4))", [0.0, 1.0, 2.0, 3.0]),
        ("int(tag(log,interval(2,5)))", [2, 3, 4, 5]),
        ("range(1,8,3)", [1, 4, 7]),
        ("null,a", [None, "a"]),
    ],
)
def test_a_grid_visits_every_value_of_a_range(mine, text, values):
    asked = plan.load(mine, ["objective=mine", "space=none", f"objective.x={text}"])
    (parameter,) = asked.space.parameters()
    assert grid(asked.space) == {"objective.x": values}
    study = optuna.create_study(
        sampler=Grid(grid(asked.space), 0), storage=optuna.storages.InMemoryStorage()
    )
    trials = [study.ask() for _ in values]
    for each in trials:
        parameter.distribution.suggest(each, "objective.x")
        study.tell(each, 0.0)
    found = [t.params["objective.x"] for t in study.trials]
    assert sorted(map(str, found)) == sorted(map(str, values))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("interval(0,1)", "is continuous; hint: objective.x=choice(…), or range(start, "),
        ("range(0,1,1e-9)", "has 1000000000 values; hint: a step"),
    ],
)
def test_a_grid_that_cannot_be_listed_is_refused(mine, text, told):
    asked = ["objective=mine", "space=none", "sampler=grid", f"objective.x={text}"]
    assert any(told in str(mistake) for mistake in mistakes(mine, *asked))


def test_all_mistakes_come_together(source):
    asked = plan.load(
        source,
        ["data=digit", "model.kernel_sze=3", "trainer.epochs=abc", "study.n_trials=0",
         "loss.label_smoothing=tag(log,interval(0,1))", "model.depth=interval(1,4)"],
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        asked.require()
    text = str(caught.value)
    for what in ("digit", "kernel_sze", "'abc'", "n_trials", "label_smoothing", "model.depth"):
        assert what in text


def test_a_plain_override_pins_and_belongs_to_every_trial(source):
    found = plan.load(
        source,
        ["optimizer=adamw", "model.width=int(interval(32,256))", "study.name=a",
         "study.metric=loss", "study.direction=minimize", "storage.url=sqlite:///x.db", "seed=3"],
    ).require()  # fmt: skip
    assert found.pins == (
        "optimizer=adamw",
        "study.metric=loss",
        "study.direction=minimize",
    )
    names = [p.name for p in found.space.parameters()]
    assert "optimizer" not in names
    assert "optimizer.lr@adamw" in names
    assert not any(name.endswith("@sgd") for name in names)


def test_options_of_operational_groups_are_no_pins_however_they_are_nested():
    words = ["launch/site=gpu", "launch@x=local", "study.metric=loss", "seed=3", "+model/head=avg"]
    assert plan._pins(words) == ("study.metric=loss", "+model/head=avg")


def test_a_user_directory_adds_groups_and_experiments(tmp_path):
    directory = tmp_path / "my conf"
    (directory / "experiment").mkdir(parents=True)
    (directory / "data").mkdir()
    (directory / "data" / "small.yaml").write_text(
        "defaults: [digits, _self_]\nlimit: 300\n", encoding="utf-8"
    )
    (directory / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /data: small\nstudy: {n_trials: 3}\n"
    )
    found = plan.load(Source((directory,)), ["experiment=mine"]).require()
    assert (found.cfg.data.limit, found.study.n_trials, found.study.name) == (300, 3, "mine")
    (directory / "primary.yaml").write_text("defaults: [config, _self_]\nseed: 7\n")
    assert plan.load(Source((directory,), "primary"), []).require().seed == 7
    with pytest.raises(ConfigError, match="no absent"):
        Source((directory,), "absent").compose([])
    with pytest.raises(ConfigError, match="no such directory"):
        Source((tmp_path / "nowhere",)).compose([])


@given(data=st.data())
@settings(max_examples=8, suppress_health_check=list(HealthCheck), deadline=None)
def test_params_to_overrides_to_composed_values_is_the_identity(source, data):
    """Through Hydra and back, for whatever the digits space can draw."""
    found = plan.load(source, [])
    trial = Drawn(data)
    cfg = source.compose(found.space.suggest(trial))
    targets = {g: source.compose([f"{g}={o}"])[g] for g, o in trial.params.items() if "." not in g}
    for name, value in trial.params.items():
        key = name.split("@")[0]
        if key in targets:
            assert cfg[key]._target_ == targets[key]._target_
            continue
        received = OmegaConf.select(cfg, key)
        if isinstance(value, str) and value.startswith("["):
            value = override_parser.parse(f"x={value}").value()
        assert received == value
        assert not isinstance(value, bool | int | float | str) or type(received) is type(value)


def test_the_built_in_directory_is_the_one_at_the_top():
    assert Path(__file__).parents[2] / "conf" == CONF


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model.width=abc", "data=mnist", "data.root=/nope"], ["model.width", "data"]),
        (["optimizer.lr=abc", "study.constraints={x: 1}"], ["optimizer.lr", "study.objectives"]),
        (["data=mnist", "data.root=/nope", "study.metric=x"], ["data", "study.metric"]),
        (["sampler=grid", "pruner.keep=2", "budget.hours=-1"], ["pruner", "budget", "sampler"]),
        (["model.width=0", "optimizer=choice(sgd,adamm)"], ["model.width", "space"]),
        (["study.metric=3", "tracking.uri=1"], ["study.metric", "tracking.uri"]),
    ],
)
def test_a_mistake_hides_none_of_another_section(source, overrides, told):
    found = mistakes(source, *overrides)
    assert set(told) <= {m.section for m in found} | {m.key for m in found}


@pytest.mark.parametrize(
    "overrides",
    [
        [
            "optimizer=sdg",
            "optimizer.momentum=0.9",
            "space=none",
            "optimizer.nesterov=choice(true)",
        ],
        ["objective=toy", "objective.x=interval(0,1)", "objective.y=1"],
        ["experiment=nosuch", "optimizer.momentum=0.9", "model.frozen=choice(1,2)"],
        ["space=nosuch", "study.enqueue=[['model.name=a']]"],
        ["study.metric=3"],
        ["worker.concurrency=null"],
        ["study.n_trials=${nope}"],
        ["study.dir=${nope}"],
        ["trainer.epochs=${nope}"],
        ["launch.workers=${nope}"],
        ["study.constraints={parameters: ${nope}}"],
        ["model.width=${seed}"],
        ["space=[1,2]"],
        ["objective._target_=null"],
        ["study.dir=''"],
        ["budget.hours=1e400"],
        ["model/width=3"],
    ],
)
def test_a_mistake_brings_none_that_it_may_have_caused(source, overrides):
    (only,) = dict.fromkeys(mistakes(source, *overrides))
    assert only.key.startswith(overrides[0].partition("=")[0])


@pytest.mark.parametrize(
    ("overrides", "searched"),
    [
        (["optimizer.lr=0.1", "optimizer.lr=interval(0.1,0.2)"], True),
        (["optimizer.lr=interval(0.1,0.2)", "optimizer.lr=0.1"], False),
    ],
)
def test_the_last_word_on_a_key_says_whether_it_is_searched(source, overrides, searched):
    found = plan.load(source, ["space=none", "model.width=choice(8,16)", *overrides]).require()
    assert ("optimizer.lr" in {p.key for p in found.space.parameters()}) == searched
    assert found.pins == (() if searched else ("optimizer.lr=0.1",))


def test_a_constant_of_the_space_is_judged_by_its_type(source):
    (told,) = mistakes(
        source, "space=none", "+space={model.width: abc, model.depth: 'choice(2,3)'}"
    )
    assert told.key == "space.model.width"
    assert told.problem == "expected int of 1 or more, got 'abc' (str)"


def test_what_cannot_be_read_at_all_is_no_traceback(source):
    for text in ("~study", "study.name=${study.name}", "=3", "=interval(1,2)"):
        assert mistakes(source, text), text
