"""Read values of the built-in configuration from its YAML files, without Hydra.

Composing a configuration takes longer than all else that a command does to look at a study.
"""

import functools
import os
import re
from typing import Any

import yaml

from tuner.config import packaged_files

ENVIRONMENT = re.compile(r'\$\{oc\.env:(\w+),"([^"]*)"\}')
"""A reference to an environment variable, with the value that it has where it is not set."""


def value(key: str) -> Any:
    """Return the value of a key such as ``storage.url`` in the default option of its group.

    References to environment variables are resolved; others are kept.
    """
    group, _, name = key.partition(".")
    found = _group(group)[name]
    if not isinstance(found, str):
        return found
    return ENVIRONMENT.sub(lambda match: os.environ.get(match[1], match[2]), found)


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.cache
def _group(group: str) -> dict[str, Any]:
    path = packaged_files.directory("conf") / group / "default.yaml"
    read: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), LOADER)
    return read
