"""Complete commands, options, groups, keys and their values in the shell.

This reads only the YAML files: composing with Hydra takes a second, and Tab must respond at once.
argcomplete implements the shells' side.
"""

import argparse
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import argcomplete
import yaml
from argcomplete.completers import DirectoriesCompleter

from tuner.config import packaged_files


def serve(parser: argparse.ArgumentParser, commands: Mapping[str, Any]) -> None:
    """Answer a shell that has set ``_ARGCOMPLETE``, and exit."""
    for command in commands.values():
        for action in command._actions:
            if action.dest in ("study", "words", "overrides"):
                action.completer = _overrides
            if action.dest in ("config_dir", "directory"):
                action.completer = DirectoriesCompleter()
    argcomplete.autocomplete(parser, always_complete_options=False)


def _overrides(prefix: str, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    if getattr(parsed_args, "app", None):
        return []  # only Hydra knows its groups
    try:
        words = shlex.split(os.environ.get("COMP_LINE", ""))
    except ValueError:  # unterminated quote
        words = []
    directories = [*parsed_args.config_dir, packaged_files.directory("conf")]
    return Offers(directories, parsed_args.config_name or "config", words).of(prefix)


class Offers:
    """The possible completions, given the configuration directories and the words so far."""

    def __init__(self, roots: Sequence[Path], primary: str, words: Sequence[str]) -> None:
        self.roots = [Path(root).expanduser() for root in roots]
        chosen = self._defaults(primary) | self._defaults("config")
        said = dict(word.split("=", 1) for word in words if "=" in word)
        if experiment := said.get("experiment"):
            chosen |= self._defaults(f"experiment/{experiment}")
        self.chosen = chosen | {group: said[group] for group in chosen.keys() & said.keys()}

    def of(self, prefix: str) -> list[str]:
        """Return the completions of a word."""
        sign = re.match(r"[+~]*", prefix)
        assert sign is not None
        word = prefix[sign.end() :]
        key, equals, _ = word.partition("=")
        if equals:
            found = [f"{key}={value}" for value in self._values(key)]
        elif "." in word:
            found = [f"{path}=" for path, _, _ in self._leaves(word.split(".")[0])]
        else:
            found = [text for g in self._groups() for text in (f"{g}=", f"{g}.")] + ["seed="]
        return [f"{sign[0]}{text}" for text in found if text.startswith(word)]

    def _values(self, key: str) -> list[str]:
        """Return the options of a group, or the values that a key's type and comment allow."""
        if "." not in key:
            return self._options(key)
        for path, value, comment in self._leaves(key.split(".")[0]):
            if path == key:
                return ["true", "false"] if isinstance(value, bool) else _alternatives(comment)
        return []

    def _groups(self) -> list[str]:
        found = {d.name for root in self.roots if root.is_dir() for d in root.iterdir()}
        return sorted(name for name in found if self._options(name))

    def _options(self, group: str) -> list[str]:
        return sorted({p.stem for root in self.roots for p in (root / group).glob("*.yaml")})

    def _leaves(self, group: str) -> Iterator[tuple[str, object, str]]:
        """Yield path, value and comment of each leaf of the selected option of a group."""
        for root in self.roots:
            path = root / group / f"{self.chosen.get(group, 'default')}.yaml"
            if path.is_file():
                text = path.read_text()
                yield from leaves(yaml.compose(text, yaml.SafeLoader), text.splitlines(), group)

    def _defaults(self, name: str) -> dict[str, str]:
        """Return group → option from the defaults list of a configuration file."""
        for root in self.roots:
            path = root / f"{name}.yaml"
            if path.is_file():
                written = (yaml.safe_load(path.read_text()) or {}).get("defaults", [])
                return {
                    group.removeprefix("override ").strip("/ "): str(option)
                    for entry in written
                    if isinstance(entry, dict)
                    for group, option in entry.items()
                }
        return {}


def leaves(node: Any, lines: Sequence[str], path: str) -> Iterator[tuple[str, object, str]]:
    """Yield path, value and comment of each leaf below a YAML node."""
    if isinstance(node, yaml.MappingNode) and node.value:
        for key, value in node.value:
            if key.value not in ("defaults", "_target_", "_partial_"):
                yield from leaves(value, lines, f"{path}.{key.value}")
    elif node is not None:
        line = lines[node.start_mark.line] if node.start_mark.line < len(lines) else ""
        value = yaml.SafeLoader("").construct_object(node, deep=True)
        yield path, value, line.partition(" # ")[2]


def _alternatives(comment: str) -> list[str]:
    """Split the comment ``a | b (of which …) | c`` into a, b, c; empty without alternatives."""
    parts = [part.split()[0].strip(":") for part in comment.split(" | ") if part.strip()]
    return parts if len(parts) > 1 else []
