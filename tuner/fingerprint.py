"""Which code runs here: the git commit, changes to it, the objective's file, package versions.

A study keeps the fingerprint of the process that created it; one that resumes or joins it says in
what it differs.  None of this is an error: commits differ for good reasons, and a cluster's nodes
are not alike.  But trials that ran on other code may not compare, so they carry the difference.
"""

import hashlib
import importlib.metadata
import importlib.util
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGES = ("tuner", "torch", "torchvision", "optuna", "hydra-core", "sqlalchemy")
CODE = ("*.py", "*.yaml", "*.yml")
"""Files whose changes can change a trial, below the working directory."""
COMMIT = re.compile(r"[0-9a-f]{7,64}")
SHOWN = 5
"""Names of changed files that a message lists."""


def here(target: str) -> dict[str, Any]:
    """The fingerprint of this process, whose objective is the ``_target_``."""
    changes = _git("diff", "HEAD", "--", *CODE)
    return {
        "git_commit": (_git("rev-parse", "HEAD") or "").strip() or None,
        "git_changes": _digest(changes.encode()) if changes else None,
        "source": _source(target),
        "versions": _versions(),
    }


def differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what this process differs from the one that created the study, a line each."""
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
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return f": {', '.join(files[:SHOWN])}{more}" if files else ""


def _git(*args: str) -> str | None:
    """What git says in the working directory; None where it is no repository, or too slow."""
    try:
        done = subprocess.run(
            ["git", *args], capture_output=True, text=True, timeout=5, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _source(target: str) -> str | None:
    """A digest of the file that a ``_target_`` lies in; its module is not imported."""
    for cut in range(target.count("."), 0, -1):
        try:
            spec = importlib.util.find_spec(".".join(target.split(".")[:cut]))
        except (ImportError, ValueError):
            continue
        if spec is not None:
            path = Path(spec.origin or "")
            return _digest(path.read_bytes()) if path.suffix == ".py" else None
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
