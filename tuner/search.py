"""Sampler, pruner and tracker from their sections of the configuration."""

import functools
import hashlib
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import optuna
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, CmaEsSampler, GridSampler, QMCSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner import config, resolvers
from tuner.budget import Budget
from tuner.distributions import Scalar
from tuner.errors import ConfigError, TunerError, blamed
from tuner.plan import Plan
from tuner.queue import Item
from tuner.samplers import encoding, experimental
from tuner.samplers.cmaes import CmaEs
from tuner.scoreboard import Scoreboard
from tuner.space import Space
from tuner.targets import locate, signature
from tuner.tracking import Nothing, Tracker

LARGEST_GRID = 100_000
"""Combinations that Optuna's grid, which lists and shuffles them all, handles in a second."""


class Grid(GridSampler):
    """Optuna's grid, whose end is our budget: it must not stop a study that it does not run."""

    def __init__(self, search_space: Mapping[str, Sequence[Scalar]], seed: int) -> None:
        super().__init__(search_space, seed)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Nothing: `study.n_trials` and the size of the grid end the search."""


class Random(BaseSampler):
    """Each value is a function of the seed and of the parameter's name alone.

    So a trial whose worker was killed between two draws gets what it would have got.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = secrets.randbits(31) if seed is None else seed

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        drawn = RandomSampler(seed_of(self.seed, param_name))
        return drawn.sample_independent(study, trial, param_name, param_distribution)


class Traded(optuna.Study):
    """A study whose direction is that of its first objective, however many there are.

    Optuna's pruners, and its TPE where it ranks pruned trials, ask for the one direction.  Of
    several objectives it refuses to name one, and so to prune (optuna/optuna#3450).
    """

    @property
    def direction(self) -> StudyDirection:
        """Of the metric that trials report."""
        return self.directions[0]


def seed_of(*parts: object) -> int:
    """A seed in [0, 2³¹) that is a pure function of its parts."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def sampler(
    cfg: DictConfig, space: Space, seed: int, scoreboard: Scoreboard | None = None
) -> BaseSampler:
    """The sampler of ``cfg.sampler``; ``seed`` is the trial's, and its own one is mixed with it.

    A sampler is made anew for each trial: Optuna does not store the state of its generator, so
    one that lives as long as its worker repeats itself when the study is resumed.  With one seed
    for all trials it would draw the same for each.  What ours has
    read of the study is kept in ``scoreboard``.
    """
    node = cfg.sampler
    given: dict[str, Any] = {}
    own = node.get("seed")
    if own is None:
        given["seed"] = seed
    elif not _is_common(str(node._target_)):
        given["seed"] = seed_of(own, seed)
    parameters = signature(str(node._target_))[0]
    if "scoreboard" in parameters:
        given |= {"space": space, "scoreboard": scoreboard}
    if "search_space" in parameters:
        given["search_space"] = grid(space)
    if "independent_sampler" in parameters:
        # Draws what the sampler itself does not: with one seed it would draw the same every time.
        given["independent_sampler"] = Random(seed)
    built = _knowingly(node, **given)
    if not isinstance(built, BaseSampler):
        raise ConfigError(f"sampler._target_: {node._target_} is no Optuna sampler")
    if isinstance(built, CmaEsSampler) and not isinstance(built, CmaEs):
        raise ConfigError(
            f"sampler._target_: {node._target_} unpickles what others may have written to the "
            "database; hint: sampler=cmaes does not"
        )
    return built


def _is_common(target: str) -> bool:
    """Whether all trials must be drawn from one and the same sequence."""
    called = locate(target)
    return isinstance(called, type) and issubclass(called, GridSampler | QMCSampler)


def _is_cmaes(target: str) -> bool:
    called = locate(target)
    return isinstance(called, type) and issubclass(called, CmaEsSampler)


@functools.lru_cache(8)
def is_small(space: Space) -> bool:
    """Whether all configurations can be listed, so that a search may come to try each."""
    return encoding.of_space(space).grid() is not None


def pruner(cfg: DictConfig) -> BasePruner:
    """The pruner of ``cfg.pruner``."""
    built = _knowingly(cfg.pruner)
    if not isinstance(built, BasePruner):
        raise ConfigError(f"pruner._target_: {cfg.pruner._target_} is no Optuna pruner")
    return built


def tracker(cfg: DictConfig) -> Tracker:
    """What ``cfg.tracking`` names; a primary configuration of a user's may say nothing of it.

    Raises: ConfigError where its library is not installed.
    """
    node = cfg.get("tracking")
    built = Nothing() if node is None else config.instantiate(node)
    if not isinstance(built, Tracker):
        raise ConfigError(f"tracking._target_: {node._target_} has no begin(run)")
    return built


def _knowingly(node: DictConfig, **given: object) -> Any:
    """Instantiate without Optuna's warnings about experimental parts: the YAML asks for them."""
    with experimental.allowed():
        return config.instantiate(node, **given)


def grid(space: Space) -> dict[str, list[Scalar]]:
    """Every value of every parameter; ``ConfigError`` if they cannot be listed."""
    found: dict[str, list[Scalar]] = {}
    mistakes = []
    for p in space.parameters():
        if p.condition:
            mistakes.append(f"sampler=grid: {p.name} is conditional; hint: pin {p.condition[0][0]}")
        elif (count := p.distribution.size()) == math.inf:
            cure = f"{p.key}=choice(…), or range(start, stop, step)"
            mistakes.append(f"sampler=grid: {p.name} has no end of values; hint: {cure}")
        elif count > LARGEST_GRID:
            mistakes.append(f"sampler=grid: {p.name} has {count} values; hint: a step")
        else:
            found[p.name] = p.distribution.every()
    size = math.prod(map(len, found.values()))
    if not mistakes and size > LARGEST_GRID:
        mistakes.append(f"sampler=grid: {size} combinations; hint: fewer choices, or sampler=qmc")
    if mistakes:
        raise ConfigError(mistakes)
    return found


def budget(plan: Plan) -> Budget:
    """What ends the search; a grid ends when it is done."""
    n_trials = plan.study.n_trials
    if _is_grid(plan):
        size = math.prod(map(len, grid(plan.space).values()))
        n_trials = size if n_trials is None else min(n_trials, size)
    return Budget(n_trials=n_trials, length=_length(plan), **asdict(plan.budget))


def queue(plan: Plan) -> tuple[Item, ...]:
    """What is tried first; a grid tries everything anyway."""
    return () if _is_grid(plan) else plan.queue


def _is_grid(plan: Plan) -> bool:
    return "search_space" in signature(str(plan.cfg.sampler._target_))[0]


def _length(plan: Plan) -> int | None:
    """Epochs of the longest training that the objective and the space allow, None if unknown."""
    known = resolvers.epochs_key(plan.cfg)
    searched = [p.distribution for p in plan.space.parameters() if p.key == known]
    values = [value for d in searched for value in d.samples() if isinstance(value, int)]
    return max(values, default=resolvers.epochs(plan.cfg))


def mistakes(plan: Plan) -> list[str]:
    """What sampler, pruner and tracker refuse, but for sections that are known to be wrong."""
    known = blamed(plan.mistakes)
    parts: dict[str, Callable[[], object]] = {
        "sampler": lambda: sampler(plan.cfg, plan.space, 0),
        "pruner": lambda: pruner(plan.cfg),
        "tracking": lambda: tracker(plan.cfg),
    }
    found = refusals({name: build for name, build in parts.items() if name not in known})
    if not known & {"study", "sampler", "budget", "space"}:
        found.extend(_together(plan))
    return found


def refusals(parts: Mapping[str, Callable[[], object]]) -> list[str]:
    """What keeps each part from being made; section → what makes it."""
    found: list[str] = []
    for section, make in parts.items():
        try:
            make()
        except ConfigError as error:
            found.extend(error.mistakes)
        except TunerError as error:
            found.append(str(error))
        except Exception as error:
            reason = error.__cause__ or error
            said = str(reason).splitlines() or [""]
            found.append(f"{section}: {type(reason).__name__}: {said[0]}")
    return found


def _together(plan: Plan) -> list[str]:
    """What does not go together of the sections that say how to search."""
    found = _unaffordable(plan)
    if len(plan.aims.objectives) > 1 and _is_cmaes(str(plan.cfg.sampler._target_)):
        found.append("sampler: cmaes knows one objective; hint: sampler=tpe or sampler=nsga2")
    if _is_grid(plan) and plan.cfg.study.enqueue:
        found.append("study.enqueue: a grid tries everything anyway; hint: leave it out")
    return found


def _unaffordable(plan: Plan) -> list[str]:
    """A budget that not even one configuration fits in."""
    asked, length = plan.cfg.budget.get("epochs"), _length(plan)
    if not isinstance(asked, int) or length is None or not 1 <= asked < length:
        return []
    return [
        f"budget.epochs: {asked} are fewer than the {length} of one training; hint: at least "
        f"{length}, or fewer {resolvers.epochs_key(plan.cfg)}"
    ]
