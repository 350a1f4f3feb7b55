"""Measure a poll of the dashboard, tuner's and optuna-dashboard's own, in one process.

    python benchmarks/dashboard.py [--trials 10000]

The study has 8 parameters, 10 reports, attributes and three artifacts per trial, and two running
trials. "Stored notes" is the cached storage with a note for each trial in the study's attributes,
as stored by optuna-dashboard's ``save_note``. The requests are those of its page.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.storages import RDBStorage, get_storage
from optuna.storages._rdb import models
from optuna_dashboard import wsgi

from tuner.report.dashboard.plugin import Content
from tuner.storage import database as opening
from tuner.worker.artifacts import open_store

OVERRIDES = [f"model.parameter_{k}=0.12345678901234" for k in range(16)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=10_000)
    trials = parser.parse_args().trials
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/study.db"
        rdb = opening.connect(url)
        fill(rdb, trials)
        artifacts = open_store(Path(directory) / "artifacts")
        shared = get_storage(rdb)
        ours = wsgi(shared, artifacts)
        ours.install(Content(shared))
        print(f"{trials} trials, seconds   first page   poll (median of 5)")
        measure("ours", ours, trials)
        measure("cached", wsgi(get_storage(opening.connect(url)), artifacts), trials)
        measure("its own command", wsgi(opening.connect(url), artifacts), trials, polls=1)
        note(rdb, trials)
        measure("stored notes", wsgi(get_storage(opening.connect(url)), artifacts), trials)


def measure(name: str, application: Callable[..., Any], trials: int, polls: int = 5) -> None:
    first = seconds(application, 0)
    application._inmemory_cache._trials_last_fetched_at.clear()  # type: ignore[attr-defined]
    times = []
    for _ in range(polls):
        application._inmemory_cache._trials_last_fetched_at.clear()  # type: ignore[attr-defined]
        times.append(seconds(application, trials))
    print(f"{name:<20} {first:10.2f} {statistics.median(times):10.3f}", flush=True)


def seconds(application: Callable[..., Any], after: int) -> float:
    """Measure the two requests of a poll: all studies, and one with its trials from ``after``."""
    began = time.perf_counter()
    ask(application, "/api/studies")
    found = ask(application, "/api/studies/1", f"after={after}")
    elapsed = time.perf_counter() - began
    assert after or len(found["trials"]) > after
    return elapsed


def ask(application: Callable[..., Any], path: str, query: str = "") -> Any:
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query, "SERVER_NAME": "x",
        "SERVER_PORT": "1", "wsgi.url_scheme": "http", "HTTP_ACCEPT_ENCODING": "identity",
    }  # fmt: skip
    return json.loads(b"".join(application(environ, lambda *_: None)))


def fill(rdb: RDBStorage, trials: int) -> None:
    """Create a study of finished trials and two running ones, by bulk inserts."""
    study = optuna.create_study(study_name="many", storage=rdb, direction="maximize")
    study.set_user_attr("metric", "accuracy")
    began = datetime(2026, 1, 1)
    attrs = {
        "overrides": OVERRIDES, "worker": "host-0", "host": "host", "device": "cuda:0",
        "run_dir": "runs/many/trials/0", "epochs": 10, "metrics": {"accuracy": 0.9, "loss": 0.1},
        "facts": {"device": "cuda:0 NVIDIA", "peak_memory_mb": 900, "parameters": 10_000},
    }  # fmt: skip
    artifact = {"mimetype": "image/png", "encoding": None}
    rows: dict[Any, list[dict[str, Any]]] = {}
    for number in range(trials):
        key = {"trial_id": number + 1}
        running = number >= trials - 2
        rows.setdefault(models.TrialModel, []).append(
            {
                **key, "number": number, "study_id": 1,
                "state": "RUNNING" if running else "COMPLETE",
                "datetime_start": began + timedelta(seconds=number),
                "datetime_complete": None if running else began + timedelta(seconds=number + 60),
            }
        )  # fmt: skip
        if not running:
            value = {
                **key,
                "objective": 0,
                "value": 0.9 + number % 97 / 1000,
                "value_type": "FINITE",
            }
            rows.setdefault(models.TrialValueModel, []).append(value)
        for k in range(8):
            kind = distribution_to_json(FloatDistribution(0, 1))
            rows.setdefault(models.TrialParamModel, []).append(
                {**key, "param_name": f"p{k}", "param_value": 0.5, "distribution_json": kind}
            )
        for step in range(1, 11):
            point = {
                "step": step,
                "intermediate_value": step / 11,
                "intermediate_value_type": "FINITE",
            }
            rows.setdefault(models.TrialIntermediateValueModel, []).append({**key, **point})
        for name, value in attrs.items():
            rows.setdefault(models.TrialUserAttributeModel, []).append(
                {**key, "key": name, "value_json": json.dumps(value)}
            )
        for k in range(3):
            meta = json.dumps(
                json.dumps({"artifact_id": f"{number}-{k}", "filename": f"{k}", **artifact})
            )
            rows.setdefault(models.TrialSystemAttributeModel, []).append(
                {**key, "key": f"artifacts:{number}-{k}", "value_json": meta}
            )
    with rdb.engine.begin() as connection:
        for model, values in rows.items():
            connection.execute(sa.insert(model), values)


def note(rdb: RDBStorage, trials: int) -> None:
    """Store a note for each trial as ``save_note`` does."""
    body = json.dumps("tuner train " + " ".join(OVERRIDES))
    with rdb.engine.begin() as connection:
        values = [
            {"study_id": 1, "key": f"dashboard:{k}:note_{key}", "value_json": value}
            for k in range(1, trials + 1)
            for key, value in (("str:0", body), ("ver", "1"))
        ]
        connection.execute(sa.insert(models.StudySystemAttributeModel), values)


if __name__ == "__main__":
    main()
