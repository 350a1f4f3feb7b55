"""Store every metric of every epoch of a configuration in its run directory.

The study stores one value per epoch, for samplers and pruners; further values would make every read
of the study slower. They are stored next to the checkpoint instead, as one line of JSON per epoch,
and survive the process as well. ``tail -f`` follows a run.
"""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

FILE = "metrics.jsonl"


def append(run_dir: Path, step: int, metrics: Mapping[str, float]) -> None:
    """Store the metrics of a step, replacing earlier ones of the same step."""
    line = json.dumps({"step": step, **metrics})
    with (run_dir / FILE).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def read(run_dir: Path) -> dict[int, dict[str, float]]:
    """Return the metrics of each step, in order, without incomplete lines of a killed process."""
    path = run_dir / FILE
    found: dict[int, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            metrics = json.loads(line)
            found[int(metrics.pop("step"))] = metrics
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return dict(sorted(found.items()))


def curves(history: Mapping[int, Mapping[str, float]]) -> dict[str, dict[int, float]]:
    """Return the values by metric and step."""
    names = dict.fromkeys(name for metrics in history.values() for name in metrics)
    return {
        name: {step: metrics[name] for step, metrics in history.items() if name in metrics}
        for name in names
    }


def as_csv(history: Mapping[int, Mapping[str, float]]) -> str:
    """Return the metrics as CSV with one row per step, which the dashboard shows as a table."""
    names = dict.fromkeys(name for metrics in history.values() for name in metrics)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", *names])
    for step, metrics in history.items():
        writer.writerow([step, *(f"{metrics[n]:.6g}" if n in metrics else "" for n in names)])
    return text.getvalue()
