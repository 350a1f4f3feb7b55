"""The output of ``tuner check``: search space, what would run, and the configuration."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from tuner.algorithms.pruners.factory import build_pruner
from tuner.algorithms.pruners.rungs import Rungs
from tuner.config import resolvers
from tuner.errors import Mistake
from tuner.masking import masked
from tuner.storage import urls
from tuner.study import limits
from tuner.study.budget import Spent
from tuner.study.plan import Plan

EXAMPLES = "validation_examples"
"""The fact of an objective's ``check`` that is shown with the pruner."""
NARROWEST = 20
"""Number of columns that a distribution has at least."""


def facts(plan: Plan, launch: str) -> dict[str, object]:
    """Return facts about what the plan would run; ``launch`` describes the workers."""
    budget = limits.budget(plan)
    return {
        "study": plan.study.name,
        "storage": urls.masked(plan.storage.url),
        "configurations": budget.n_trials,
        "budget": {share.key: share.limit for share in budget.usage(Spent())},
        "stop_when": budget.stop_when,
        "enqueued": [item.origin for item in limits.queue(plan)],
        "metric": f"{plan.study.direction} {plan.study.metric}",
        "objectives": plan.aims.objectives,
        "constraints": dict(plan.aims.limits),
        "objective": plan.cfg.objective._target_,
        **{key: fact for key, fact in plan.facts.items() if key != EXAMPLES},
        "sampler": plan.cfg.sampler._target_,
        "pruner": plan.cfg.pruner._target_,
        **_first_decision(plan),
        "launch": launch,
        "pinned": list(plan.pins),
    }


def _first_decision(plan: Plan) -> dict[str, str]:
    """Return when a trial is first compared with others, if the pruner knows."""
    pruner = build_pruner(plan.cfg)
    if not isinstance(pruner, Rungs):
        return {}
    examples = plan.facts.get(EXAMPLES)
    known = examples if isinstance(examples, int) else None
    return {"first_decision": pruner.describe_first_decision(resolvers.epochs(plan.cfg), known)}


def as_json(plan: Plan, launch: str) -> str:
    """Return configuration, space and facts as JSON; ``mistakes`` is an empty list."""
    found = {"config": plan.base_text, "space": plan.space.rows(), "run": facts(plan, launch)}
    return json.dumps({"mistakes": [], **found}, default=str)


def refused(mistakes: Sequence[Mistake]) -> str:
    """Return the mistakes as JSON, each with ``key``, ``problem``, ``hint`` and ``when``."""
    found = [asdict(m) | {"problem": masked(m.problem), "hint": masked(m.hint)} for m in mistakes]
    return json.dumps({"mistakes": found})


def as_text(plan: Plan, launch: str, width: int) -> str:
    """Return space and facts as two sections of plain text, in lines of at most ``width``."""
    shown = {key: _words(value) for key, value in facts(plan, launch).items()}
    run = "\n".join(_wrapped(f"  {key:<15} ", told, width) for key, told in shown.items())
    return f"{_table(plan.space.rows(), width)}\n\nwould run:\n{run}\n\nthe configuration is valid"


def _wrapped(name: str, told: str, width: int) -> str:
    room = max(NARROWEST, width - len(name))
    lines = textwrap.wrap(told, room, break_on_hyphens=False)
    return (name + ("\n" + " " * len(name)).join(lines)).rstrip()


def _words(value: object) -> str:
    """Return a fact as text without Python's brackets, quotes or None."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_words(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or "none"
    return "none" if value is None else str(value)


def _table(rows: list[dict[str, str]], width: int) -> str:
    """Return the space as columns, of which the distribution wraps."""
    columns = ("name", "distribution", "condition")
    widths = {c: max(len(c), *(len(row[c]) for row in rows)) for c in columns}
    room = max(NARROWEST, width - widths["name"] - widths["condition"] - 4)
    widths["distribution"] = min(room, widths["distribution"])
    lines = [{c: c for c in columns}, {c: "-" * widths[c] for c in columns}]
    for row in rows:
        first, *more = textwrap.wrap(row["distribution"], room)
        lines.append({**row, "distribution": first})
        lines += [{"name": "", "distribution": rest, "condition": ""} for rest in more]
    return "\n".join("  ".join(row[c].ljust(widths[c]) for c in columns).rstrip() for row in lines)
