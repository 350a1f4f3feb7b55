"""Moves secrets of the command line, such as the password of a URL, to environment variables.

All users of a machine can read the arguments of a process; only its owner can read its environment.
"""

import argparse
import itertools
import os
import re

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tuner import log
from tuner.config import composition
from tuner.config.override_text import text_of
from tuner.errors import ConfigError
from tuner.masking import has_secret


def take_secrets(args: argparse.Namespace) -> None:
    """Replace each override that contains a secret by a reference to an environment variable.

    Child processes inherit the variable; arguments, database and output contain only its name.
    Raises: ``ConfigError`` for a secret in a sweep, whose values are stored with the study.
    """
    log.to_stderr()
    for place, text in enumerate(args.overrides):
        if has_secret(text):
            args.overrides[place] = _moved(text)


def _moved(text: str) -> str:
    """The override without its secrets; a malformed one is returned as it is and refused later."""
    try:
        override = composition.parse(text)
    except ConfigError:
        return text
    key, head = str(override.key_or_group), text.partition("=")[0]
    if override.is_sweep_override():
        raise ConfigError(
            "the values of a search are stored with the study, and one has a password",
            key=key,
            hint="search over names, and let the objective map them to URLs",
        )
    name = "TUNER_" + re.sub(r"\W", "_", key).upper()
    value = _referring(override.value(), key, name)
    whole = isinstance(value, str)
    told = head if override.is_delete() else f"{head}={value if whole else text_of(value)}"
    log.log.warning(
        "%s has a password in it, which the list of processes shows as long as this command runs; "
        "hint: export %s=…, and give %s instead",
        key,
        ", ".join(dict.fromkeys(re.findall(r"oc\.env:(\w+)", told))) or name,
        told,
    )
    return told


def _referring(value: object, key: str, name: str) -> object:
    """The value, each string with a secret replaced by a reference to a variable.

    Variables are called ``name``, ``name_2``, … so that none with another value is overwritten.
    """
    if isinstance(value, dict):
        return {key: _referring(item, key, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_referring(item, key, name) for item in value]
    if not isinstance(value, str) or not has_secret(value):
        return value
    try:
        value = str(OmegaConf.create({"value": value}).value)
    except OmegaConfBaseException as error:  # for example a reference to another key
        raise ConfigError(
            "has both a password and a reference that cannot be resolved",
            key=key,
            hint=f"export {name}=…, and give {key}='${{oc.env:{name}}}'",
        ) from error
    numbered = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    free = next(n for n in numbered if os.environ.get(n, value) == value)
    os.environ[free] = value
    return f"${{oc.env:{free}}}"
