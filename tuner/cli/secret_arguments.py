"""Move secrets of the command line, such as the password of a URL, to environment variables.

All users of a machine can read the arguments of a process; only its owner can read its environment.
"""

import argparse
import re

from tuner import log
from tuner.api import secret_overrides


def take_secrets(args: argparse.Namespace) -> None:
    """Replace each override that contains a secret by a reference to an environment variable.

    Raises:
        ConfigError: A sweep contains a secret; its values are stored with the study.
    """
    log.to_stderr()
    for place, text in enumerate(args.overrides):
        told = args.overrides[place] = secret_overrides.moved(text, "TUNER_")
        if told != text:
            _warn(told)


def _warn(told: str) -> None:
    key = re.split("[=@]", told.lstrip("+~"), maxsplit=1)[0]
    names = dict.fromkeys(re.findall(r"oc\.env:(\w+)", told))
    log.log.warning(
        "%s contains a password, which the process list shows while this command runs; "
        "hint: export %s=…, and write %s instead",
        key,
        ", ".join(names),
        told,
    )
