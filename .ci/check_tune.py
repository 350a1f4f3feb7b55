"""Run the main job as the README tells it, and check what it prints and leaves."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 300
"""Seconds after which something hangs: a quiet machine of 2 cores takes 70, a busy one 105."""


def main() -> None:
    tuner = Path(sys.executable).with_name("tuner")
    os.chdir(tempfile.mkdtemp(prefix="tuner-check-"))
    started = time.monotonic()
    out = "".join(
        subprocess.run([tuner, command], check=True, text=True, stdout=subprocess.PIPE).stdout
        for command in ("tune", "final")
    )
    seconds = time.monotonic() - started
    print(out)
    best = json.loads(subprocess.check_output([tuner, "best", "--json"]))
    status = json.loads(subprocess.check_output([tuner, "status", "--json"]))
    final = json.loads(Path("runs/digits/final/final.json").read_text())
    page = Path("runs/digits/report.html").read_text()
    counts = status["counts"]
    checks = {
        "24 configurations, none left": sum(counts.values()) == 24
        and not any(counts[state] for state in ("failed", "running", "queued")),
        "best validation accuracy at least 0.985": best["value"] >= 0.985,
        "test accuracy over 3 seeds at least 0.96": len(final["values"]) == 3
        and final["mean"] >= 0.96,
        "an exported model a seed": len(final["models"]) == 3
        and all(Path(model).is_file() for model in final["models"]),
        "the report loads nothing": not re.search(
            r"<(script|link|img)[^>]+(src|href)=\"?http", page
        ),
        "a model to use": "tuner predict runs/digits/export" in out
        and Path("runs/digits/export/model.safetensors").is_file(),
        "a line to paste": "tuner train " in out,
        "the dashboard's command": "tuner dashboard" in out,
        f"within {LIMIT} s": seconds <= LIMIT,
    }
    saved = status["epochs_saved_fraction"]
    print(
        f"main job {seconds:.0f} s; best {best['value']:.4f}; test {final['mean']:.4f}; "
        f"share of epochs that pruning saved {saved:.2f}"
    )
    failed = [name for name, holds in checks.items() if not holds]
    if failed:
        sys.exit(f"the main job did not keep: {', '.join(failed)}")


if __name__ == "__main__":
    main()
