"""Parse overrides with Hydra's own parser, and translate its errors into clear messages."""

import functools
import itertools
import re

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override as Override
from hydra.core.override_parser.types import Sweep
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from tuner.config import override_functions, search_path
from tuner.config.override_text import text_of
from tuner.config.suggestions import unparsable
from tuner.errors import ConfigError, Mistake
from tuner.log import printable

FUNCTIONS = override_functions.functions()


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Override:
    """Parse one override with Hydra's own parser.

    The result is cached: the parser takes 2 ms, and the values of a space are parsed again for each
    context.

    Raises:
        ConfigError: The override is malformed.
    """
    if not _is_unicode(text):
        raise ConfigError(f"{text} is not valid UTF-8", hint="use a UTF-8 locale")
    try:
        parsed = OverridesParser(FUNCTIONS).parse_override(text)
    except HydraException as error:
        raise ConfigError([unparsable(text, explained(error).problem)]) from error
    shown = printable(text, kept="")
    if not parsed.key_or_group:
        raise ConfigError(f"{shown} cannot be parsed: no key before the =", hint="key=value")
    if _has_sweep(parsed._value) and not parsed.is_sweep_override():
        raise ConfigError(
            f"{shown} cannot be parsed: a sweep cannot be nested inside a value",
            key=parsed.key_or_group,
            hint="search complete values, choice([1,2],[3,4]), or single keys, a.b='interval(0,1)'",
        )
    return parsed


def _is_unicode(text: str) -> bool:
    """Return whether a text is valid Unicode, without undecodable bytes or lone surrogates."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _has_sweep(value: object) -> bool:
    if isinstance(value, list | dict):
        return any(map(_has_sweep, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Sweep)


def spaceless(text: str) -> str:
    """Return the override without the spaces that Hydra does not need, for a shell's ``$(…)``."""
    if len(text.split()) == 1:
        return text
    value = parse(text).value()
    shorter = f"{text.partition('=')[0]}={text_of(value)}"
    return shorter if parse(shorter).value() == value else text


def explained(error: Exception) -> Mistake:
    """Return Hydra's message without its stack of internals, and a hint if one is known."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("full_key:", "object_type="))]
    hint = ""
    if found := re.search(r"Could not find '([^']+)'$", next(iter(kept), "")):
        there = search_path.holding(f"{found[1]}.yaml")
        options = list(itertools.takewhile(lambda line: "search path" not in line, kept[2:]))
        known = f"known options: {', '.join(options)}" if options else "is it in a --config-dir?"
        kept, hint = kept[:1], f"--config-dir={there} has it" if there else known
    cause = error.__cause__
    why = f": {str(cause).splitlines()[0]}" if isinstance(cause, OmegaConfBaseException) else ""
    told = (" ".join(kept[:3]) or type(error).__name__) + why
    if "Incompatible key type 'NoneType'" in told:  # OmegaConf names neither key nor file
        hint = 'in a YAML file, the key null is written "null", in quotes'
    return Mistake("", told, hint)
