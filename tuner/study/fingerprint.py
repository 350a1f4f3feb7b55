"""Identify the running code: git commit, uncommitted changes, objective file, package versions.

A study stores the fingerprint of the process that created it; a process that resumes or joins it
reports the differences. They are not errors: commits differ for good reasons, and the nodes of a
cluster are not alike. But trials of different code may not be comparable, so trials record the
difference.
"""

import hashlib
import importlib.metadata
import importlib.util
import inspect
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.config import targets
from tuner.log import first

PACKAGES = ("tuner", "torch", "torchvision", "optuna", "hydra-core", "sqlalchemy")
CODE = ("*.py", "*.yaml", "*.yml")
"""Files below the working directory whose changes can affect a trial."""
COMMIT = re.compile(r"[0-9a-f]{7,64}")
SHOWN = 5
"""Maximum number of changed files in a message."""


def here(target: str) -> dict[str, Any]:
    """Return the fingerprint of this process, whose objective is the ``_target_``."""
    changes = _git("diff", "HEAD", "--", *CODE)
    return {
        "git_commit": (_git("rev-parse", "HEAD") or "").strip() or None,
        "git_changes": _digest(changes.encode()) if changes else None,
        "source": _source(target),
        "versions": _versions(),
    }


def differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the differences between this process and the study's creator, one line each."""
    old, new = stored.get("versions") or {}, now["versions"]
    found = [
        f"{package} {new[package]} here, {old[package]} in the study"
        for package in new
        if package in old and new[package] != old[package]
    ]
    found.extend(_commits(stored, now))
    before, after = stored.get("source"), now["source"]
    if before and after and before != after:
        found.append(f"the objective's file has changed ({after[:8]}, {before[:8]} in the study)")
    return found


def _commits(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    old, new = stored.get("git_commit"), now["git_commit"]
    if not (old and new and COMMIT.fullmatch(old)):  # git would take --output=FILE for an option
        return []
    if old != new:
        changed = _git("diff", "--name-only", "--relative", old, "--", *CODE)
        if changed == "":
            return []  # the commits differ in other things than code
        return [f"git commit {new[:10]} here, {old[:10]} in the study{_named(changed or '')}"]
    if stored.get("git_changes") != now["git_changes"]:
        changed = _git("diff", "--name-only", "--relative", "HEAD", "--", *CODE)
        return [f"uncommitted changes to git commit {new[:10]} differ{_named(changed or '')}"]
    return []


def _named(names: str) -> str:
    files = names.split("\n")[:-1]
    return f": {first(files, SHOWN)}" if files else ""


def _git(*args: str) -> str | None:
    """Return git's output in the working directory; None without a repository, or if too slow."""
    try:
        done = subprocess.run(
            ["git", *args], capture_output=True, text=True, timeout=5, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _source(target: str) -> str | None:
    """Return a digest of the file of a ``_target_``, without importing its module."""
    module, _, name = target.rpartition(".")
    if module == targets.HERE:
        return _source_here(getattr(sys.modules.get(module), name, None))
    for cut in range(target.count("."), 0, -1):
        try:
            spec = importlib.util.find_spec(".".join(target.split(".")[:cut]))
        except (ImportError, ValueError):
            continue
        if spec is not None:
            path = Path(spec.origin or "")
            return _digest(path.read_bytes()) if path.suffix == ".py" else None
    return None


def _source_here(function: Any) -> str | None:
    """Return a digest of the text of a function of this process; None if it is not known."""
    try:
        return _digest(inspect.getsource(function).encode())
    except (OSError, TypeError):  # typed at a prompt, or no function
        return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _versions() -> dict[str, str]:
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
