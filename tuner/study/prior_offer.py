"""Suggest a study in the same database as the prior of a new study."""

import shlex

from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy

from tuner.config.override_text import text_of
from tuner.log import printable
from tuner.space import tree
from tuner.storage import studies
from tuner.study import limits
from tuner.study.plan import Plan
from tuner.study.study import Study


def line(plan: Plan, study: Study) -> str | None:
    """Return a line on how to use the best prior; None if there is none, or no need.

    A study that has begun, or has a prior, needs none. A prior has the same parameters, metric and
    direction; ranges may differ. Of several, the one with the most completed configurations is
    chosen.
    """
    if plan.study.prior is not None or limits.is_grid(plan):
        return None
    with study.storage.engine.connect() as connection:
        completed = studies.completed(connection)
        if study.id in completed:
            return None
        known = [s for s in studies.every(connection) if completed.get(s._study_id)]
    alike = [s for s in known if _serves(s, plan)]
    if not alike:
        return None
    best = max(alike, key=lambda s: (completed[s._study_id], s._study_id))
    override = shlex.quote(f"study.prior={text_of(best.study_name)}")
    return printable(
        f"study {best.study_name!r} has searched the same space, {completed[best._study_id]} "
        f"completed; hint: {override} starts with its best trials",
        kept="",
    )


def _serves(stored: FrozenStudy, plan: Plan) -> bool:
    """Return whether a study has the same parameters, metric and direction as the plan."""
    attrs, rows = stored.user_attrs, plan.space.rows()
    aim = attrs.get("metric"), stored.directions[0]
    if aim != (plan.study.metric, StudyDirection[plan.study.direction.upper()]):
        return False
    return bool(rows) and not tree.compare(attrs.get("space", []), rows).breaking
