"""The budget and the queue of a search, as requested by the plan and allowed by its sampler."""

import math
from dataclasses import asdict

from tuner.config import resolvers
from tuner.config.targets import signature
from tuner.space.grid import grid
from tuner.study.budget import Budget
from tuner.study.plan import Plan
from tuner.study.queue import Item


def budget(plan: Plan) -> Budget:
    """Return the budget of the search; a grid search ends when the grid is exhausted."""
    n_trials = plan.study.n_trials
    if is_grid(plan):
        size = math.prod(map(len, grid(plan.space).values()))
        n_trials = size if n_trials is None else min(n_trials, size)
    given = asdict(plan.budget)
    return Budget(n_trials=n_trials, length=longest(plan), closed=plan.closed, **given)


def queue(plan: Plan) -> tuple[Item, ...]:
    """Return the trials to enqueue first; a grid search tries everything anyway."""
    return () if is_grid(plan) else plan.queue


def is_grid(plan: Plan) -> bool:
    """Return whether the sampler tries all combinations of the values."""
    return "search_space" in signature(str(plan.cfg.sampler._target_))[0]


def longest(plan: Plan) -> int | None:
    """Return the epochs of the longest training that objective and space allow, None if unknown."""
    known = resolvers.epochs_key(plan.cfg)
    searched = [p.distribution for p in plan.space.parameters() if p.key == known]
    values = [value for d in searched for value in d.samples() if isinstance(value, int)]
    return max(values, default=resolvers.epochs(plan.cfg))
