"""What sampler, pruner and tracker of a plan refuse, alone and together."""

from collections.abc import Callable, Mapping

from tuner import resolvers
from tuner.errors import ConfigError, TunerError, blamed
from tuner.limits import is_grid, longest
from tuner.plan import Plan
from tuner.pruners.factory import build_pruner
from tuner.samplers.factory import build_sampler, is_cmaes
from tuner.trackers.factory import build_tracker


def mistakes(plan: Plan) -> list[str]:
    """What sampler, pruner and tracker refuse, but for sections that are known to be wrong."""
    known = blamed(plan.mistakes)
    parts: dict[str, Callable[[], object]] = {
        "sampler": lambda: build_sampler(plan.cfg, plan.space, 0),
        "pruner": lambda: build_pruner(plan.cfg),
        "tracking": lambda: build_tracker(plan.cfg),
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
    if len(plan.aims.objectives) > 1 and is_cmaes(str(plan.cfg.sampler._target_)):
        found.append("sampler: cmaes knows one objective; hint: sampler=tpe or sampler=nsga2")
    if is_grid(plan) and plan.cfg.study.enqueue:
        found.append("study.enqueue: a grid tries everything anyway; hint: leave it out")
    return found


def _unaffordable(plan: Plan) -> list[str]:
    """A budget that not even one configuration fits in."""
    asked, length = plan.cfg.budget.get("epochs"), longest(plan)
    if not isinstance(asked, int) or length is None or not 1 <= asked < length:
        return []
    return [
        f"budget.epochs: {asked} are fewer than the {length} of one training; hint: at least "
        f"{length}, or fewer {resolvers.epochs_key(plan.cfg)}"
    ]
