"""Hints for mistyped names: the nearest key, word, option or command."""

import difflib
import re
from collections.abc import Sequence

from tuner.config.types import closest, nearest
from tuner.errors import Mistake
from tuner.log import printable
from tuner.masking import has_secret

FUNCTIONS = ("choice", "interval", "range", "tag", "int", "float", "str", "bool", "glob")
"""Functions that are allowed in a sweep; Hydra's others have no meaning in a search."""

NO_TRIAL = "no-best-trial"
"""Output of ``tuner best --overrides`` if there is no best trial. No command accepts it; with empty
output, ``tuner train $(tuner best --overrides)`` would train the defaults."""


def nearest_key(known: Sequence[str], key: str, groups: Sequence[str] = ()) -> str:
    """Return a hint: keys with the same last part, else the nearest key of the section, or of all.

    Only the parts after a common section count for the similarity.
    """
    top, _, below = key.partition(".")
    # The space repeats the keys that it searches, which are not meant.
    known = [k for k in known if top == "space" or not k.startswith("space.")]
    if named := sorted((k for k in known if _leaf(k) == _leaf(key)), key=len):
        beside = [k for k in named if closest(_parent(key), [_parent(k)])]
        return _offer((beside or named)[:3])
    tops = list(dict.fromkeys([*(k.partition(".")[0] for k in known), *groups]))
    if below and (meant := closest(top, tops)):
        return _within(known, f"{meant}.{below}")
    if meant := closest(top, tops):
        return _offer([meant])
    leaf = closest(_leaf(key), list(map(_leaf, known)))
    return _offer([k for k in known if _leaf(k) == leaf][:3]) if leaf else nearest(key, tops)


def _within(known: Sequence[str], key: str) -> str:
    """Return the nearest key below the longest known part of a key."""
    section = _parent(key)
    while section not in known and "." in section:
        section = _parent(section)
    below = [k for k in known if k.startswith(f"{section}.") and not _leaf(k).startswith("_")]
    rest = closest(key.removeprefix(f"{section}."), [k.removeprefix(f"{section}.") for k in below])
    if not below and section:
        return _within(known, f"{section}!")  # nothing is below it: what is beside it
    return _offer([f"{section}.{rest}"]) if rest else nearest("", below or known)


def _offer(keys: Sequence[str]) -> str:
    return f"did you mean {' or '.join(map(repr, keys))}?"


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _parent(key: str) -> str:
    return key.rpartition(".")[0]


CALLS = {
    "interval": "interval(low, high), or tag(log, interval(low, high))",
    "range": "range(start, stop) or range(start, stop, step)",
    "choice": "choice(a, b)",
    "tag": "tag(log, interval(low, high))",
    "glob": "glob(*)",
}
"""Function → its syntax."""


KINDS = {
    "str": "text",
    "NoneType": "null",
    "bool": "a boolean",
    "list": "a list",
    "dict": "a mapping",
}
"""Python's types in words."""


def unparsable(text: str, message: str) -> Mistake:
    """Return why Hydra cannot parse an override, with a hint; ``message`` is Hydra's."""
    text = printable(text, kept="")  # on one line, as messages are masked line by line
    reason, hint = _unparsable(text, message)
    key, given, _ = text.partition("=")
    return Mistake(key.strip("+~ ") if given else "", f"{text} cannot be parsed: {reason}", hint)


def _unparsable(text: str, message: str) -> tuple[str, str]:
    """Return the reason and the hint."""
    if unknown := re.search(r"Unknown function '(\w+)'", message):
        return f"unknown function {unknown[1]!r}", nearest(unknown[1], FUNCTIONS)
    if called := re.search(r"while evaluating '(\w+)\(.*?': (.*)", message):
        how = CALLS.get(called[1], "remove int(), float(), str() or bool() where they do not fit")
        wrong = re.match(r"mismatch type argument \S+: (\w+) ", called[2])
        why = f"{KINDS.get(wrong[1], wrong[1])} is not allowed there" if wrong else called[2]
        return f"{called[1]}(): {why}", how
    if text == NO_TRIAL:
        return "tuner best found no trial, see its error above", ""
    if "=" not in text:
        return "no value", f"write {text or 'key'}=value"
    if re.match(r"[^='\"]*(\s=|=\s*$)", text):
        return "no value next to the =", "key=value without spaces, or key=null"
    if lacking := _lacking(text):
        return f"a {lacking} is missing", "add it, or quote the complete override for the shell"
    hint = "write key=value, and quote special characters as Hydra does: \"key='a b'\""
    if has_secret(text):  # the parser's message quotes a part of it, which no mask would recognise
        return "a special character in it is not quoted", hint
    return message, hint


def _lacking(text: str) -> str:
    """Return the bracket that is missing in an unquoted text."""
    for opening, closing in ("()", "[]", "{}"):
        surplus = text.count(opening) - text.count(closing)
        if surplus and not re.search("['\"]", text):
            return closing if surplus > 0 else opening
    return ""


def closest_first(word: str, known: Sequence[str]) -> list[str]:
    """Return all ``known`` words, the most similar first."""
    return sorted(known, key=lambda k: difflib.SequenceMatcher(None, word, k).ratio(), reverse=True)
