"""Check sampler, pruner and tracker of a plan, alone and together."""

from collections.abc import Callable, Mapping

from tuner.algorithms.pruners.factory import build_pruner
from tuner.algorithms.samplers.factory import build_sampler, is_cmaes
from tuner.config import resolvers
from tuner.errors import Mistake, TunerError
from tuner.study.limits import is_grid, longest
from tuner.study.plan import Plan
from tuner.worker.tracking.factory import build_tracker


def mistakes(plan: Plan) -> list[Mistake]:
    """Return the errors of sampler, pruner and tracker, without sections known to be wrong."""
    known = {mistake.section for mistake in plan.mistakes}
    parts: dict[str, Callable[[], object]] = {
        "sampler": lambda: build_sampler(plan.cfg, plan.space, 0),
        "pruner": lambda: build_pruner(plan.cfg),
        "tracking": lambda: build_tracker(plan.cfg),
    }
    found = refusals({name: build for name, build in parts.items() if name not in known})
    if not known & {"study", "sampler", "budget", "space"}:
        found.extend(_together(plan))
    return found


def refusals(parts: Mapping[str, Callable[[], object]]) -> list[Mistake]:
    """Return the errors of parts that cannot be built; maps section → function that builds it."""
    found: list[Mistake] = []
    for section, make in parts.items():
        try:
            make()
        except TunerError as error:
            found.extend(error.mistakes)
        except Exception as error:
            reason = error.__cause__ or error
            said = str(reason).splitlines() or [""]
            found.append(Mistake(section, f"{type(reason).__name__}: {said[0]}"))
    return found


def _together(plan: Plan) -> list[Mistake]:
    """Return the conflicts between sections that configure the search."""
    found = _unaffordable(plan)
    if len(plan.aims.objectives) > 1 and is_cmaes(str(plan.cfg.sampler._target_)):
        hint = "sampler=tpe or sampler=nsga2"
        found.append(Mistake("sampler", "cmaes supports one objective only", hint))
    if is_grid(plan) and plan.cfg.study.enqueue:
        found.append(
            Mistake(
                "study.enqueue",
                "not needed, because a grid tries every combination",
                "leave it out",
            )
        )
    return found


def _unaffordable(plan: Plan) -> list[Mistake]:
    """Return an error if the budget does not suffice for one configuration."""
    asked, length = plan.cfg.budget.get("epochs"), longest(plan)
    if not isinstance(asked, int) or length is None or not 1 <= asked < length:
        return []
    hint = f"at least {length}, or fewer {resolvers.epochs_key(plan.cfg)}"
    told = f"expected at least {length}, the epochs of one training, got {asked}"
    return [Mistake("budget.epochs", told, hint)]
