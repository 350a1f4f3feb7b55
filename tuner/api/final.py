"""Train the winner of a study and export it, as ``tuner final`` does."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.api.running import Asked
from tuner.errors import TunerError
from tuner.report.final_record import final_of
from tuner.report.summary import Summary

if TYPE_CHECKING:
    from tuner.train.export.predictor import Predictor


@dataclass(frozen=True)
class Final:
    """The winner of a study, retrained with several seeds and scored once on the test split.

    Args:
        value: Mean of the metric over the seeds.
        sd: Its standard deviation, with n - 1 degrees of freedom; None for one seed.
        values: The metric by seed.
        number: The number of the winner in the study.
        model: The directory of the exported model.

    Example:
        >>> Final(0.99, 0.01, [0.98, 1.0], 7, Path("runs/digits/export")).value
        0.99
    """

    value: float
    sd: float | None
    values: Sequence[float]
    number: int | None
    model: Path

    def load(self, *, device: str = "cpu", trust: bool = False) -> "Predictor":
        """Return the trained model of the first seed; see ``tuner.load``.

        Args:
            device: Where it computes, such as ``cuda``.
            trust: Import the network's class even if it is not tuner's: this runs its code.

        Raises:
            TunerError: There is no model, because the objective is not the built-in trainer; or the
                network needs ``trust``.
        """
        if not (self.model / "model.json").is_file():
            told = f"there is no exported model in {self.model}"
            raise TunerError(told, hint="your own objective saves its model in run_dir")
        from tuner.train.export.predictor import load  # imports torch, which takes seconds

        return load(self.model, device=device, trust=trust)


def run(asked: Asked) -> None:
    """Run ``tuner final`` in a separate process, so that torch's settings here are not changed.

    Raises:
        TunerError: It failed.
        KeyboardInterrupt: It was interrupted; the same call resumes it.
    """
    words = ["final", *asked.source.argv(), *asked.overrides]
    said: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", "tuner", *words],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches this process alone
    ) as process:
        try:
            for line in process.stderr or ():
                said.append(line)
                if not any(text.startswith("error: ") for text in said):  # which is raised
                    print(line, end="", file=sys.stderr)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.communicate()
            raise
    code = process.returncode
    if code:
        told = "".join(said).rpartition("error: ")[2].strip()
        raise TunerError(told or f"tuner final ended with exit code {code}")


def read(summary: Summary, directory: Path) -> Final:
    """Return the result of ``tuner final``.

    Args:
        directory: The study's directory.

    Raises:
        TunerError: There is no result for this study.
    """
    found = final_of(summary, directory)
    if not found:
        raise TunerError(
            f"{directory / 'final'} contains no result of this study", hint="call final()"
        )
    return Final(
        found["mean"], found["sd"], tuple(found["values"]), found["number"], directory / "export"
    )
