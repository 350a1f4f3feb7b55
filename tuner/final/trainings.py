"""Open the study of a final, which is derived from the plan and the study of the search."""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from tuner.config import lookup, signatures
from tuner.config.lookup import OPERATIONAL
from tuner.config.settings import BudgetSettings
from tuner.errors import StudyMissing
from tuner.final.agenda import Agenda, AgendaTrials, Entrant
from tuner.final.race import Standing
from tuner.log import log
from tuner.report.configurations import Row
from tuner.study import create, enqueued
from tuner.study import study as studies
from tuner.study.plan import Plan
from tuner.study.study import Study
from tuner.worker import loop

NAME = "final"
"""Name of a final's directory, and of the attribute that marks its study."""
SEARCHING: Mapping[str, Any] = {
    "n_trials": None, "enqueue": [], "enqueue_defaults": False, "prior": None, "prior_url": None,
    "constraints": None, "keep_checkpoints": None,
}  # fmt: skip
"""Settings of a search that a final overrides. There are no constraints: a final training that
violated one by chance would be lost.
"""


@dataclass(frozen=True)
class Trainings:
    """The open study of a final, with its plan and its agenda."""

    plan: Plan
    study: Study
    agenda: Agenda

    def over(self) -> bool:
        """Return whether no more trainings are needed."""
        return not self.agenda.needed(self.study.attempts())

    def standing(self) -> Standing:
        return self.agenda.standing(self.study.attempts())

    def known(self) -> AgendaTrials:
        return AgendaTrials(self.agenda, self.study.attempts())

    def work(self) -> int:
        """Run trainings in this process while any are needed; return the worker's exit code."""
        queue, breadth = self.agenda.queue, self.agenda.breadth
        return loop.work(self.plan, self.study, queue=queue, breadth=breadth)


def open_trainings(plan: Plan, search: Study, rows: Sequence[Row], *, maximize: bool) -> Trainings:
    """Create the study of a search's final, or resume it with the given finalists.

    Finished trainings are kept, including those of other finalists.
    """
    asked = plan_of(plan)
    _forget_another(asked, search)
    study = create.open_study(asked)
    entrants = [_entrant(asked, row) for row in rows]
    agenda = Agenda(entrants, asked.final, maximize, since=len(study.optuna.trials))
    study.storage.set_study_user_attr(study.id, NAME, {"of": search.uid, **agenda.as_data()})
    return Trainings(asked, study, agenda)


def join_trainings(plan: Plan, uid: str | None) -> Trainings:
    """Join the study of a final, which ``tuner final`` has created, as a worker.

    Raises:
        StudyMissing: The study does not exist.
        StorageLost: The study has another uid than ``uid``.
    """
    asked = plan_of(plan)
    study = create.join_study(asked, uid or str(_loaded(asked).uid))
    maximize = asked.study.direction == "maximize"
    return Trainings(asked, study, Agenda.read(study.attrs[NAME], asked.final, maximize))


def plan_of(plan: Plan) -> Plan:
    """Return the plan of a search's final, in which no training is pruned."""
    cfg = copy.deepcopy(plan.cfg)
    with open_dict(cfg):
        cfg.study.update({**SEARCHING, "name": studies.name_of_final(plan.study.name)})
        cfg.study.dir = str(Path(plan.study.dir) / NAME)
        cfg.budget = asdict(BudgetSettings(None, None, None, "never", None, plan.budget.repeats))
        cfg.pruner = {"_target_": "optuna.pruners.NopPruner"}
        cfg.sampler = {"_target_": "tuner.algorithms.samplers.random.Random"}
        cfg.final.overrides = _read_by_objective(plan)
    return replace(plan, cfg=cfg, queue=(), closed=True)


def _read_by_objective(plan: Plan) -> list[str]:
    """Return ``final.overrides`` without keys that the objective does not read."""
    fields = signatures.reachable(plan.cfg)

    def read(key: str) -> bool:
        return key in fields or (plan.source.open_ended and lookup.has_key(plan.cfg, key))

    kept = [text for text in plan.final.overrides if read(text.split("=")[0])]
    for text in [text for text in plan.final.overrides if text not in kept]:
        log.warning("final.overrides: the objective does not read %s; ignored", text)
    return kept


def _forget_another(asked: Plan, search: Study) -> None:
    """Delete the final of a deleted study that had the same name."""
    try:
        found = _loaded(asked)
    except StudyMissing:
        return
    if found.attrs.get(NAME, {}).get("of", search.uid) != search.uid:
        log.warning("deleting study %r, the final of an earlier study of this name", found.name)
        found.storage.delete_study(found.id)


def _loaded(asked: Plan) -> Study:
    grace, patience = asked.worker.grace, asked.storage.patience
    return studies.load(asked.storage.url, asked.study.name, grace=grace, patience=patience)


def _entrant(asked: Plan, row: Row) -> Entrant:
    params, _ = enqueued.located(asked.space, lambda p: row.params[p.name])
    own = [*asked.pins, *asked.space.overrides(params)]
    overrides = {"race": own, "final": [*own, *asked.final.overrides]}
    texts = {name: _text(asked.source.compose(words)) for name, words in overrides.items()}
    digests = {
        name: hashlib.sha256("\n".join([*overrides[name], text]).encode()).hexdigest()[:16]
        for name, text in texts.items()
    }
    return Entrant(row.number, params, digests)


def _text(cfg: DictConfig) -> str:
    return lookup.text(cfg, without=sorted(OPERATIONAL))
