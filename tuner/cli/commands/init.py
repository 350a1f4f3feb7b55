"""``tuner init``: write a small project of the user's own."""

import argparse
import re
import shlex
from pathlib import Path

from tuner.config import directories, packaged_files
from tuner.errors import ConfigError
from tuner.log import say

RENAMED = {"gitignore": ".gitignore"}
"""Files that would take effect in tuner's own sources, and are therefore renamed."""

NAME = "NAME"
"""Placeholder of the project's name, in texts and file names."""


def run(args: argparse.Namespace) -> int:
    """Write a project, and print its commands to stdout."""
    directory: Path = args.directory
    if args.overrides:
        raise ConfigError(f"expected one directory, got also {' '.join(args.overrides)}")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"{directory} exists and is not empty", hint="name a new directory")
    if reason := directories.obstacle(directory):
        raise ConfigError(reason, key="init", hint="name another directory")
    name = re.sub(r"[^a-z0-9_-]+", "-", directory.resolve().name.lower()).strip("-") or "search"
    template = packaged_files.directory("template")
    for source in sorted(template.rglob("*")):
        if source.is_file() and source.suffix != ".pyc":
            relative = source.relative_to(template)
            path = directory / relative.with_name(
                RENAMED.get(relative.name, relative.name.replace(NAME, name))
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source.read_text().replace(NAME, name))
    if directory.resolve() != Path.cwd():
        say(shlex.join(["cd", str(directory)]))
    say(shlex.join(["tuner", "tune", "--config-dir", "conf", f"experiment={name}"]))
    return 0
