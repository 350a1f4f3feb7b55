"""Move secrets of overrides, such as the password of a URL, to environment variables.

Processes that are started inherit the variables; their arguments, the database and what is printed
have the names of the variables only.
"""

import itertools
import os
import re

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tuner.config import override_parser
from tuner.config.override_text import text_of
from tuner.errors import ConfigError
from tuner.masking import has_secret


def moved(text: str, prefix: str = "TUNER_GIVEN_") -> str:
    """Return an override with references to environment variables in the place of its secrets.

    A malformed one is returned as it is, to be refused later.

    Args:
        prefix: Beginning of the variables' names, which end with the key. That of ``storage.url``
            must not be ``TUNER_``, lest it become the default database of this process.

    Raises:
        ConfigError: A sweep has a secret: its values are stored with the study.
    """
    if not has_secret(text):
        return text
    try:
        override = override_parser.parse(text)
    except ConfigError:
        return text
    key, head = str(override.key_or_group), text.partition("=")[0]
    if override.is_sweep_override():
        raise ConfigError(
            "a searched value contains a password, and searched values are stored with the study",
            key=key,
            hint="search over names, and let the objective map them to URLs",
        )
    value = _referring(override.value(), key, prefix + re.sub(r"\W", "_", key).upper())
    whole = isinstance(value, str)
    return head if override.is_delete() else f"{head}={value if whole else text_of(value)}"


def _referring(value: object, key: str, name: str) -> object:
    """Return the value with a reference to an environment variable for each string with a secret.

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
            "contains both a password and an interpolation that cannot be resolved",
            key=key,
            hint=f"export {name}=…, and write {key}='${{oc.env:{name}}}'",
        ) from error
    numbered = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    free = next(n for n in numbered if os.environ.get(n, value) == value)
    os.environ[free] = value
    return f"${{oc.env:{free}}}"
