"""``tuner completion``: make a shell complete commands, keys and options."""

import argparse


def run(args: argparse.Namespace) -> int:
    """Print shell code that enables tab completion of tuner's commands."""
    from argcomplete.shell_integration import shellcode  # which `init` does not need

    print(shellcode(["tuner"], shell=args.shell))
    return 0
