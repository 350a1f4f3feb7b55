"""Write other commands for the same study, to paste into a shell."""

import argparse
import shlex


def command_line(args: argparse.Namespace, command: str) -> str:
    """Return another command with the options and overrides of this one."""
    study = [] if args.study is None else [args.study]
    return shlex.join(["tuner", command, *study, *flags(args), *args.overrides])


def flags(args: argparse.Namespace) -> list[str]:
    """Return the options that find the configuration, as given."""
    app = [f"--app={args.app}"] if args.app else []
    name = [f"--config-name={args.config_name}"] if args.config_name else []
    return [*app, *(f"--config-dir={d}" for d in args.config_dir), *name]
