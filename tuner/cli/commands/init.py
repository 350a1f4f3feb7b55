"""``tuner init``: write a small project of the user's own, or the configuration of a cluster."""

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from tuner.config import directories, packaged_files
from tuner.errors import ConfigError
from tuner.launch import slurm_cluster
from tuner.log import say

RENAMED = {"gitignore": ".gitignore"}
"""Files that would take effect in tuner's own sources, and are therefore renamed."""

NAME = "NAME"
"""Placeholder of the project's name, in texts and file names."""

CLUSTER = "tuner init DIR --cluster HOST… --nodes FILE, a file with what slurmd -C prints on each"


def run(args: argparse.Namespace) -> int:
    """Write the files, and print the next commands to stdout."""
    directory: Path = args.directory
    if args.overrides:
        raise ConfigError(f"expected one directory, got also {' '.join(args.overrides)}")
    if bool(args.cluster) != bool(args.nodes):
        raise ConfigError("expected --cluster and --nodes together", hint=CLUSTER)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"{directory} exists and is not empty", hint="name a new directory")
    if reason := directories.obstacle(directory):
        raise ConfigError(reason, key="init", hint="name another directory")
    if args.cluster:
        _write_cluster(directory, args.cluster, args.nodes)
    else:
        _write_project(directory)
    return 0


def _write_project(directory: Path) -> None:
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


def _write_cluster(directory: Path, hosts: Sequence[str], nodes: Path) -> None:
    try:
        printed = nodes.read_text("utf-8-sig", errors="replace")
    except OSError as error:
        raise ConfigError(f"{nodes}: {error.strerror}", key="--nodes", hint=CLUSTER) from None
    found = slurm_cluster.configuration(hosts, printed)
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in found.items():
        (directory / name).write_text(text)
    say(f"sudo cp {shlex.quote(str(directory.resolve()))}/*.conf /etc/slurm/  # on every machine")
    say(f"sudo systemctl restart slurmctld  # on {hosts[0]}")
    say("sudo systemctl restart slurmd  # on every machine")
