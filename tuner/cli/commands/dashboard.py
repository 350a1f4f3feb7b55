"""``tuner dashboard``: optuna-dashboard on the studies of a database."""

import argparse
from pathlib import Path

from tuner.cli import context
from tuner.storage import database as storage


def run(args: argparse.Namespace) -> int:
    """Serve optuna-dashboard, for all studies of the database, until interrupted."""
    from tuner.report.dashboard import server  # optuna-dashboard takes a second to import

    plan = context.readable(args)
    access = server.access(
        args.host,
        args.port,
        token_file=args.token_file,
        login=args.login,
        read_only=args.read_only,
    )
    database = storage.connect(plan.storage.url, create=False, write=not args.read_only)
    server.serve(database, Path(plan.storage.artifacts), access, plan)
    return 0
