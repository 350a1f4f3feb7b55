"""Find all overrides that cannot be composed; Hydra itself stops at its first error."""

from collections.abc import Sequence

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from tuner.config import override_parser, search_path
from tuner.config.composition import Source
from tuner.config.lookup import has_key, keys
from tuner.config.override_text import text_of
from tuner.config.suggestions import nearest_key
from tuner.config.types import nearest
from tuner.errors import ConfigError, Mistake, section

Mistakes = dict[str, Mistake | None]
"""Override → the error for which it cannot be composed; None for a key below an unknown option,
which may have had it.
"""


def mistakes(source: Source, overrides: Sequence[str]) -> Mistakes:
    """Return the errors of overrides; empty if all can be composed."""
    try:
        source.compose(overrides)
    except ConfigError as error:
        return blame(source, overrides, error)
    return {}


def blame(source: Source, overrides: Sequence[str], error: ConfigError) -> Mistakes:
    """Return ``mistakes`` of overrides that were just composed and raised ``error``."""
    return _single_mistakes(source, overrides) or {overrides[-1]: error.mistakes[0]}


def _single_mistakes(source: Source, overrides: Sequence[str]) -> Mistakes:
    """Compose each override alone with the groups, because Hydra stops at its first error."""
    parsed = {text: override_parser.parse(text) for text in overrides}
    selects = {
        text: o
        for text, o in parsed.items()
        if source.options(o.key_or_group) and not isinstance(o.value(), dict)
    }
    found: Mistakes = {t: m for t, o in selects.items() if (m := _bad_option(source, o))}
    named = [t for t, o in parsed.items() if o.key_or_group == "objective._target_"]
    groups = [*(text for text in selects if text not in found), *named]
    base = source.compose(groups)
    lost = {parsed[text].key_or_group for text in found}
    for text in [text for text in parsed if text not in groups and text not in found]:
        override = parsed[text]
        if mistake := _bad_value(source, text, override, base, groups):
            # An experiment is not a section and may change all of them.
            owned = section(text) in lost or not lost <= set(map(str, base))
            known = has_key(base, override.key_or_group)
            found[text] = None if owned and not known else mistake
    return found


def _bad_option(source: Source, override: Override) -> Mistake | None:
    group, value = override.key_or_group, override.value()
    options = source.options(group)
    if override.is_delete() or (isinstance(value, str | list) and str(value) in options):
        return None
    written = text_of(value)
    if written in options:  # Hydra reads it as a number or a boolean
        return Mistake(group, f"{written} is not a valid name in Hydra", f"\"{group}='{written}'\"")
    named = repr(value) if isinstance(value, str) else written
    there = search_path.holding(f"{group}/{written}.yaml")
    hint = f"--config-dir={there} has it" if there else nearest(written, options)
    return Mistake(group, f"the group has no option {named}", hint)


def _bad_value(
    source: Source, text: str, override: Override, base: DictConfig, groups: Sequence[str]
) -> Mistake | None:
    try:
        source.compose([*groups, text])
    except ConfigError as error:
        key = override.key_or_group
        if has_key(base, key) or override.is_add() or override.is_force_add():
            return error.mistakes[0].at(key)
        having = owners(source, key)
        hint = f"it belongs to {having}" if having else _meant(source, base, key)
        return Mistake(key, "unknown key", hint)
    return None


def _meant(source: Source, base: DictConfig, key: str) -> str:
    """Return a hint for a key that no option has."""
    above, _, name = key.rpartition(".")
    if above and has_key(base, above) and OmegaConf.select(base, above) is None:
        return f"{above} is null; set all of it: '{above}={{{name}: …}}'"
    return nearest_key(keys(base), key.replace("/", "."), source.groups())


def owners(source: Source, key: str) -> str:
    """Return the options of a group that have the key, as ``a=b or a=c``."""
    group = key.split(".")[0]
    choices = [f"{group}={option}" for option in source.options(group)]
    return " or ".join(c for c in choices if has_key(source.compose([c]), key))
