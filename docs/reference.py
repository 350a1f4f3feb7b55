"""Write docs/reference.md from the configuration: `make reference`.

Keys, defaults and meanings are those of conf/, types those of the signatures and sections that read
them; a test compares the page with what this would write.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from tuner import binding, schema
from tuner.cli import COMMANDS
from tuner.completion import leaves
from tuner.config import Source, conf_dir

PAGE = Path(__file__).parent / "reference.md"
HEAD = """\
# Reference

Written by `make reference` from `conf/` and the signatures that read it; do not edit.

Any key can be given on the command line, `key=value`, and any that the objective reads can be
searched, `key='interval(a, b)'`. `tuner check` shows the whole configuration of a command.

## Commands

| command | what it does |
|---|---|
"""
ENVIRONMENT = """
`tuner COMMAND --help` lists the options of each. Exit codes: 0 done, 1 failed, 2 refused before
any work (usage, configuration, a database or directory that does not serve), 130 and 143
interrupted.

## Environment

| variable | meaning |
|---|---|
| `TUNER_STORAGE_URL` | the database, wherever `storage.url` is not given |
| `TUNER_DATA` | the directory of the data sets, wherever `data.root` is not given |
| `TUNER_DASHBOARD_TOKEN` | the dashboard's token, where `--token-file` is not given |
| `NO_COLOR`, `FORCE_COLOR` | no colours, or colours in a file too |
"""


UNKEYED = ("experiment", "space")
"""Groups whose options set keys of the others."""


@dataclass(frozen=True)
class Key:
    """A row of a group's table."""

    path: str
    type: str
    default: str
    meaning: str


@dataclass
class Group:
    """A directory of conf/: its options with what is said of them, and their keys."""

    name: str
    options: dict[str, str] = field(default_factory=dict)
    keys: dict[Key, list[str]] = field(default_factory=dict)
    """Each with the options that have it so."""

    def add(self, path: Path, typed: Mapping[str, binding.Field]) -> None:
        """One option, and what each of its keys is read as."""
        self.options[path.stem] = _heading(path.read_text().splitlines())
        if self.name not in UNKEYED:
            for key in _keys(self.name, path, typed):
                self.keys.setdefault(key, []).append(path.stem)


@functools.cache
def groups() -> list[Group]:
    """The groups of the primary configuration, in its order."""
    written = yaml.safe_load((conf_dir() / "config.yaml").read_text())["defaults"]
    names = [name for entry in written if entry != "_self_" for name in entry]
    files = {name: sorted((conf_dir() / name).glob("*.yaml")) for name in names}
    found = {name: Group(name) for name in names}
    for chosen in zip_longest(*files.values()):  # one of each group at once: composing is slow
        paths = {name: path for name, path in zip(names, chosen, strict=True) if path}
        keyed = [f"{name}={path.stem}" for name, path in paths.items() if name not in UNKEYED]
        typed = binding.reachable(Source().compose(keyed))
        for name, path in paths.items():
            found[name].add(path, typed)
    return list(found.values())


def _heading(lines: Sequence[str]) -> str:
    """The comment that a file begins with."""
    said = []
    for line in lines:
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            said.append(line.lstrip("# "))
    return " ".join(said)


def _keys(group: str, path: Path, typed: Mapping[str, binding.Field]) -> Iterator[Key]:
    text = path.read_text()
    for key, value, comment in leaves(yaml.compose(text), text.splitlines(), group):
        if comment or not str(value).startswith("${"):  # ${data} within objective is a group itself
            yield Key(key, _type(typed.get(key), value), _written(value), comment)


def _type(read: binding.Field | None, value: object) -> str:
    """As the signature says; where it says nothing, what the default is."""
    if read is not None and read.annotation is not Any:
        return schema.type_name(read.annotation)
    return "" if str(value).startswith("${") else type(value).__name__


def _written(value: object) -> str:
    """A default as one writes it in YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).split("\n...")[0].strip()


def page() -> str:
    """The whole page as Markdown."""
    commands = "".join(f"| `tuner {name}` | {what} |\n" for name, (_, what) in COMMANDS.items())
    return HEAD + commands + ENVIRONMENT + "".join(map(_section, groups()))


def _section(group: Group) -> str:
    text = f"\n## {group.name}\n\n| option | |\n|---|---|\n"
    text += "".join(f"| `{group.name}={o}` | {what} |\n" for o, what in group.options.items())
    if group.keys:
        head = ["key", *_of(group, "of"), "type", "default", "meaning"]
        text += f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}\n"
        text += "".join(_row(key, having, group) for key, having in _ordered(group))
    return text


def _of(group: Group, cell: str) -> list[str]:
    """A column for which options have a key, where there are several."""
    return [cell] if len(group.options) > 1 else []


def _ordered(group: Group) -> list[tuple[Key, list[str]]]:
    """Rows of one key stand together, in the order in which keys first appear."""
    order = list(dict.fromkeys(key.path for key in group.keys))
    return sorted(group.keys.items(), key=lambda item: order.index(item[0].path))


def _row(key: Key, having: Sequence[str], group: Group) -> str:
    of = _of(group, "all" if len(having) == len(group.options) else ", ".join(having))
    cells = [f"`{key.path}`", *of, key.type, f"`{key.default}`", key.meaning]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    PAGE.write_text(page())
