"""Looking at a study, or at what would become one."""

import argparse
import json
from pathlib import Path

from tuner import mirror, storage
from tuner.budget import Budget
from tuner.commands import asking
from tuner.log import log
from tuner.report import check as checking
from tuner.report import export as exporting
from tuner.report import live, page, summary


def status(args: argparse.Namespace) -> int:
    """Workers, counts and the best so far."""
    _, study = asking.stored(args)
    found = summary.summarise(study.optuna, times=study.times())
    budget = Budget(**study.attrs["budget"]) if "budget" in study.attrs else Budget()
    ended = study.ended(budget)
    workers = [w for w in study.workers() if w.alive]
    if args.json:
        rows = [
            {"id": w.id, "host": w.host, "device": w.device, "trial": w.trial_number}
            for w in workers
        ]
        data = {
            "study": found.name,
            "n_trials": budget.n_trials,
            "budget": {s.key: {"spent": s.spent, "limit": s.limit} for s in found.budget},
            "ended": ended,
            "counts": found.counts,
            "epochs": found.epochs,
            "share_saved": found.share_saved,
            "best": None if found.best is None else summary.best_of(found),
            "workers": rows,
        }
        print(json.dumps(data))
        return 0
    counts = ", ".join(f"{n} {state}" for state, n in found.counts.items() if n)
    of = "" if budget.n_trials is None else f", of {budget.n_trials}"
    print(f"{found.name}: {counts or 'nothing has run yet'}{of}")
    for share in found.budget:
        print(f"  {share}")
    if ended:
        print(f"  ended by {ended}")
    for w in workers:
        doing = "idle" if w.trial_number is None else f"trial {w.trial_number}"
        print(f"  {w.id} on {w.host} ({w.device}): {doing}")
    asking.console().print(live.table(found, top=10))
    return 0


def best(args: argparse.Namespace) -> int:
    """The best trial, for people, programs or a shell."""
    _, study = asking.stored(args)
    found = summary.summarise(study.optuna)
    row = asking.best_row(found)
    if args.as_overrides:
        if any(len(text.split()) != 1 for text in row.overrides):
            log.warning("an override holds spaces, which $(…) splits; `tuner best` quotes them")
        print(" ".join(row.overrides))
    elif args.json:
        print(json.dumps(summary.best_of(found)))
    else:
        print(f"trial {row.number}: {found.metric} {row.value}")
        print(asking.train_line(args, row))
    return 0


def report(args: argparse.Namespace) -> int:
    """Write the page; its path goes to stdout."""
    plan, study = asking.stored(args)
    print(page.write_page(study.optuna, args.output or Path(plan.study.dir) / "report.html"))
    return 0


def export(args: argparse.Namespace) -> int:
    """Write the best configuration and its model; the paths go to stdout."""
    plan, study = asking.stored(args)
    found = summary.summarise(study.optuna)
    row = asking.best_row(found)
    directory = Path(plan.study.dir)
    out_dir = args.output or directory / "export"
    for path in exporting.write(plan.source, row, out_dir):
        print(path)
    forms = args.formats or list(exporting.FORMS)
    trained = directory / "final"
    for path in exporting.write_model(found, row, trained, out_dir, forms, trust=args.trust):
        print(path)
    return 0


def dashboard(args: argparse.Namespace) -> int:
    """Serve optuna-dashboard, for all studies of the database, until interrupted."""
    from tuner.dashboard import server  # optuna-dashboard takes a second to import

    settings = asking.readable(args).storage
    access = server.access(
        args.host,
        args.port,
        token_file=args.token_file,
        login=args.login,
        read_only=args.read_only,
    )
    database = storage.connect(settings.url, create=False)
    server.serve(database, Path(settings.artifacts), access)
    return 0


def check(args: argparse.Namespace) -> int:
    """Show what would run, having judged all of it."""
    plan = asking.planned(args)
    _, launch = asking.launcher(plan)
    storage.probe(plan.storage.url)
    mirror.probe(plan.study.mirror)
    print((checking.as_json if args.json else checking.as_text)(plan, launch))
    return 0
