"""``tuner tune``: create or resume a study, and run its workers."""

import argparse
from pathlib import Path

from tuner.api import supervision
from tuner.cli import context, short_form
from tuner.cli.command_lines import command_line
from tuner.errors import TunerError
from tuner.launch.fork_server import ForkServer
from tuner.log import log, say
from tuner.report.analysis import no_result, pruning_errors
from tuner.report.configurations import Row
from tuner.report.reproduce import Repeats
from tuner.report.summary import Summary
from tuner.report.terminal import status, view
from tuner.report.terminal.screen import console
from tuner.report.write import write_page
from tuner.study import create, limits, prior_offer, recorded
from tuner.study.plan import Plan
from tuner.study.study import Study


def run(args: argparse.Namespace) -> int:
    """Create or resume the study, supervise its workers, and write table and report."""
    with ForkServer() as server:
        return _tune(args, server)


def _tune(args: argparse.Namespace, server: ForkServer) -> int:
    plan, launcher, described = context.launched(args, server.begin)
    study = create.open_study(plan)
    recorded.keep(plan)
    budget = limits.budget(plan)
    if reason := study.ended(budget):
        log.info("study %r is complete (%s); raise the budget to continue", study.name, reason)
        return _close(plan, study, args)
    if offer := study.patience(lambda: prior_offer.line(plan, study)):
        log.info("%s", offer)
    job = supervision.start(plan, study, launcher, described, server.fork)
    if launcher.detach:
        args.overrides = [o for o in args.overrides if not o.startswith("launch.detach=")]
        status_line = short_form.line(args, plan, "status")
        say(f"status:    {status_line}")
        again = f"{command_line(args, 'tune')} launch.detach=false"
        say(f"watch:     {again if 'detach' in plan.cfg.launch else f'{status_line} --watch'}")
        return 0
    stop = supervision.follow(plan, study, job)
    if stop.signal is not None:
        _show(plan, study, args)
        log.warning("interrupted; run the same command to resume the study")
        return 128 + stop.signal
    _close(plan, study, args, job.failure)
    if reason := study.ended(budget):
        log.info("the search has ended: %s", reason)
        if paused := study.unfinished():
            log.info("paused: %d configurations; raise the budget to resume them", paused)
    return 0


def _close(plan: Plan, study: Study, args: argparse.Namespace, failure: str | None = None) -> int:
    """Show the results; raise ``TunerError`` for a failure or a search without any value."""
    found = _show(plan, study, args)
    vain = no_result.explain(found, context.view_of(args, plan).again)
    if wrong := [each for each in (failure, vain) if each]:
        raise TunerError("\n".join(map(str, wrong)))
    return 0


def _show(plan: Plan, study: Study, args: argparse.Namespace) -> Summary:
    """Show the table, write the report, and print the next commands."""
    found = study.patience(lambda: status.summary_of(study))
    output, commands = Path(plan.study.dir) / "report.html", Repeats(plan)
    written = study.patience(
        lambda: write_page(study.optuna, output, summary=found, commands=commands)
    )
    if found.best is None:
        say(f"no configuration was completed: {found.tally or 'none was started'}")
        say(f"report:    {written}")
        return found
    console().print(view.closing(found))
    say(f"tried:     {found.tally}, {len(found.rows)} in total")
    if told := pruning_errors.line(found):
        say(f"pruning:   {told}")
    say(f"best:      {_best_line(args, plan, found.best)}")
    say(f"report:    {written}")
    say(f"final:     {short_form.line(args, plan, 'final')}")
    say(f"dashboard: {short_form.line(args, plan, 'dashboard')}")
    return found


def _best_line(args: argparse.Namespace, plan: Plan, best: Row) -> str:
    """Return the command that trains the best trial again, in full if a shell would split it."""
    view = context.view_of(args, plan)
    words = view.shell_words(best) if view.repeats.known(best) is not None else [""]
    if any(len(word.split()) != 1 for word in words):
        return view.train_line(best)
    return f"tuner train $({short_form.line(args, plan, 'best')} --overrides)"
