"""Find a study in the same database whose best configurations a new study could begin with."""

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
    """Return how to use the best prior study; None if the study has begun, has a prior, or no need.

    A prior searches the same parameters, by the same metric and in the same direction; ranges may
    differ. Of several, it is the one with the most completed configurations.
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
    """Return whether the study had the same space and aim."""
    attrs, rows = stored.user_attrs, plan.space.rows()
    aim = attrs.get("metric"), stored.directions[0]
    if aim != (plan.study.metric, StudyDirection[plan.study.direction.upper()]):
        return False
    return bool(rows) and not tree.compare(attrs.get("space", []), rows).breaking
