"""``tuner dashboard``: optuna-dashboard on the studies of a database."""

import argparse

from tuner.cli.study_views import open_view
from tuner.storage import database as storage


def run(args: argparse.Namespace) -> int:
    """Serve optuna-dashboard, for all studies of the database, until interrupted."""
    from tuner.report.dashboard import server  # optuna-dashboard takes a second to import

    found = open_view(args)
    access = server.access(
        args.host,
        args.port,
        token_file=args.token_file,
        login=args.login,
        read_only=args.read_only,
    )
    place = found.location
    if args.study is not None:
        found.load().storage.close()  # it must exist
    database = storage.connect(place.url, create=False, write=not args.read_only)
    server.serve(database, place.artifacts, access, found.plan)
    return 0
