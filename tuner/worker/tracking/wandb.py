"""Record a study's trials in Weights & Biases, online or in files for ``wandb sync``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import wandb

from tuner.worker.tracking.base import Run, typed


class WandB:
    """The tracker ``tracking=wandb``: runs of a project, grouped by study."""

    def __init__(
        self,
        project: str,
        directory: str,
        entity: str | None = None,
        mode: Literal["online", "offline"] | None = None,
    ) -> None:
        self.project = project
        self.directory = Path(directory).absolute()  # an objective may change the directory
        self.entity = entity
        self.mode = mode

    def directories(self) -> list[tuple[str, Path]]:
        return [("tracking.directory", self.directory)]

    def prepare(self) -> None:
        """Create the directory, in whose place wandb would take a temporary one."""
        self.directory.mkdir(parents=True, exist_ok=True)

    def begin(self, run: Run) -> "WandBRun":
        self.prepare()  # on the worker's machine
        began = wandb.init(
            project=self.project,
            entity=self.entity,
            dir=str(self.directory),
            mode=self.mode,
            id=f"{run.uid}-{run.number}",
            name=run.name,
            group=run.study,
            config={name: typed(value) for name, value in run.params.items()},
            resume="allow",
            reinit="create_new",  # workers may run several trials in threads
            settings=wandb.Settings(console="off", silent=True),
        )
        return WandBRun(began)


class WandBRun:
    """A run of Weights & Biases."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        if step >= self.run.step:  # a resumed run has it already
            self.run.log(dict(metrics), step=step, commit=True)

    def close(self, state: str | None) -> None:
        if state is None:
            self.run.mark_preempting()
        else:
            self.run.summary["state"] = state
        self.run.finish(exit_code=int(state in (None, "failed")))
