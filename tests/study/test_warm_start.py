"""A warm start begins with the best trials of a prior study that fit the space."""

import shlex
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from tests.conftest import Project
from tuner.config.composition import Source
from tuner.errors import StudyError
from tuner.space.distributions import Categorical, Float
from tuner.space.tree import Branch, Parameter, Space
from tuner.storage import database
from tuner.study import create, limits, plan, prior_offer, study, warm_start
from tuner.study.next_trial import listed
from tuner.study.queue import Item
from tuner.worker.proposal import Proposer

WIDTH = "model.width=int(interval(8,64))"
RATE = "optimizer.lr=tag(log,interval(1e-4,0.1))"


@pytest.fixture
def planned(tmp_path: Path):
    def make(name: str, *overrides: str) -> plan.Plan:
        url = f"storage.url='sqlite:///{tmp_path}/s.db'"
        fixed = [url, "space=none", f"study.name={name}", "study.enqueue_defaults=false"]
        return plan.load(Source(), [*fixed, *overrides], validate=False).require()

    return make


def tried(asked: plan.Plan, results: dict[float, dict[str, float]]) -> None:
    """A study with these scores and parameters."""
    opened = create.open_study(asked)
    by_name = {p.name: p.distribution for p in asked.space.parameters()}
    for value, params in results.items():
        distributions: dict[str, optuna.distributions.BaseDistribution] = {}
        for name in params:
            d = by_name[name]
            kind = optuna.distributions.FloatDistribution
            if type(d).__name__ == "Int":
                kind = optuna.distributions.IntDistribution
            distributions[name] = kind(d.low, d.high, log=d.log)
        opened.optuna.add_trial(
            optuna.create_trial(value=value, params=params, distributions=distributions)
        )


def test_the_best_come_first_and_none_nearly_twice(planned):
    tried(
        planned("old", WIDTH, RATE),
        {
            0.5: {"model.width": 10, "optimizer.lr": 0.01},
            0.9: {"model.width": 60, "optimizer.lr": 0.01},
            0.89: {"model.width": 61, "optimizer.lr": 0.0101},
            0.7: {"model.width": 20, "optimizer.lr": 0.001},
        },
    )
    asked = planned("new", WIDTH, RATE, "study.prior=old", "study.prior_best=2")
    opened = create.open_study(asked)
    items = create.queue(asked, opened)
    assert [item.params["model.width"] for item in items] == [60, 20]
    assert items[0].origin == "study.prior: old #1"
    opened.join("w", "cpu")
    drawn = []
    for _ in range(3):
        budget = limits.budget(asked)
        claimed = opened.claim("w", budget=budget, max_retries=3, queue=listed(items))
        assert claimed is not None
        trial = Proposer(asked, opened).open(claimed)
        asked.space.suggest(trial)
        drawn.append(trial.params)
    assert drawn[:2] == [dict(item.params) for item in items]
    assert drawn[2] not in drawn[:2]


def test_what_the_prior_lacks_or_has_elsewhere_is_drawn(planned):
    tried(planned("old", WIDTH), {0.9: {"model.width": 60}, 0.8: {"model.width": 30}})
    asked = planned("new", "model.width=int(interval(8,40))", RATE, "study.prior=old")
    items = create.queue(asked, create.open_study(asked))
    assert [dict(item.params) for item in items] == [{"model.width": 30}]


def test_the_prior_is_read_once_for_all_workers(planned):
    old = planned("old", WIDTH)
    tried(old, {0.9: {"model.width": 60}})
    asked = planned("new", WIDTH, "study.prior=old")
    first = create.queue(asked, create.open_study(asked))
    tried(old, {0.95: {"model.width": 9}})
    assert create.queue(asked, create.open_study(asked)) == first


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([], ["study.prior=older"], "has no study 'older'; hint: it has "),
        ([], ["study.metric=auroc"], "was to maximize accuracy, not to maximize auroc"),
        (["study.metric=loss", "study.direction=minimize"], [], "was to minimize loss, not to"),
        ([], ["model.width=null", RATE], "no parameter of 'old' is searched in this study"),
    ],
)
def test_a_prior_of_another_kind_is_refused(planned, old, new, expected):
    tried(planned("old", WIDTH, *old), {0.9: {"model.width": 60}})
    width = [] if "model.width=null" in new else [WIDTH]
    rest = [text for text in new if text != "model.width=null"]
    asked = planned("new", *width, "study.prior=old", *rest)
    with pytest.raises(StudyError, match="hint:") as caught:
        create.open_study(asked)
    assert expected in str(caught.value)
    with closing(database.connect(asked.storage.url)) as rdb:
        assert study.names(rdb) == ["old"], "nothing was made"


def test_a_prior_in_no_database_makes_none(planned, tmp_path):
    asked = planned("new", WIDTH, "study.prior=old")
    with pytest.raises(StudyError, match=r"study\.prior: there is no .*; hint: study\.prior_url"):
        create.open_study(asked)
    assert list(tmp_path.iterdir()) == []


def test_a_prior_that_was_taken_may_go(planned):
    old = planned("old", WIDTH)
    tried(old, {0.9: {"model.width": 60}})
    asked = planned("new", WIDTH, "study.prior=old")
    first = create.queue(asked, create.open_study(asked))
    with closing(database.connect(old.storage.url)) as rdb:
        optuna.delete_study(study_name="old", storage=rdb.rdb)
    assert create.queue(asked, create.open_study(asked)) == first


def test_a_search_of_the_same_space_is_offered_and_not_taken(planned):
    tried(planned("few", WIDTH, RATE), {0.9: {"model.width": 60, "optimizer.lr": 0.01}})
    more = {0.1 * k: {"model.width": 10 * k, "optimizer.lr": 0.01} for k in (1, 2)}
    tried(planned("more of it", "model.width=int(interval(8,32))", RATE), more)
    tried(planned("loss", WIDTH, RATE, "study.metric=loss", "study.direction=minimize"), more)
    tried(planned("narrow", WIDTH), {k / 10: {"model.width": 10} for k in (1, 2, 3)})
    asked = planned("new", WIDTH, RATE)
    opened = create.open_study(asked)
    told, _, hint = (prior_offer.line(asked, opened) or "").partition("; hint: ")
    assert told == "study 'more of it' has searched the same space, 2 completed"
    assert shlex.split(hint)[0] == "study.prior='more of it'"
    assert create.queue(asked, opened) == []
    assert prior_offer.line(planned("new", WIDTH, RATE, "study.prior=few"), opened) is None
    tried(asked, {0.9: {"model.width": 60, "optimizer.lr": 0.01}})
    assert prior_offer.line(asked, opened) is None, "it has begun"


def test_without_such_a_search_nothing_is_offered(planned):
    asked = planned("new", WIDTH)
    assert prior_offer.line(asked, create.open_study(asked)) is None


def test_tune_offers_a_prior(project: Project):
    project.call("worker", "study.n_trials=1", "study.name=old")
    project.call("tune", "study.n_trials=1", "study.name=new", "launch.workers=1")
    assert "study 'old' has searched the same space, 1 completed" in project.stderr


@pytest.mark.parametrize("command", ["tune", "check"])
def test_a_command_refuses_a_prior_before_it_makes_a_study(project: Project, command):
    project.call("worker", "study.n_trials=1", "study.name=old")
    project.call(command, "study.prior=odl", "study.name=new", code=2)
    said = project.stderr
    assert "\nerror: study.prior: " in said
    assert "has no study 'odl'; hint: it has old" in said
    with closing(database.connect(f"sqlite:///{project.directory}/runs/tuner.db")) as rdb:
        assert study.names(rdb) == ["old"]


def test_a_prior_without_a_result_is_refused(planned):
    tried(planned("old", WIDTH), {})
    with pytest.raises(StudyError, match="has no completed configuration"):
        create.open_study(planned("new", WIDTH, "study.prior=old"))


def test_distances_are_shares_of_each_range():
    space = Space(
        Branch((
            Parameter("rate", Float(1e-4, 1.0, log=True)),
            Parameter("kind", Categorical(("a", "b"), ("a", "b"))),
        ))
    )  # fmt: skip
    assert warm_start.distance({"rate": 1e-4}, {"rate": 1e-2}, space) == pytest.approx(0.5)
    assert warm_start.distance({"rate": 1.0, "kind": "a"}, {"rate": 1.0, "kind": "b"}, space) == 0.5
    assert warm_start.distance({"rate": 1.0}, {"rate": 1.0, "kind": "b"}, space) == 0.5
    alike = [Item({"rate": 10**-k}, "") for k in (1, 1.1, 3)]
    assert warm_start.diverse(alike, 2, space) == [alike[0], alike[2]]
    assert warm_start.diverse(alike, 3, space) == [alike[0], alike[2], alike[1]], "filled up"
