"""Write values as override text that Hydra reads back with the same value and type."""

import re

from hydra.core.override_parser.types import Quote, QuotedString

RESERVED = {"null", "true", "false", "inf", "nan"}
"""Words that Hydra does not read as strings unless they are quoted."""


def quote(text: str) -> str:
    """Return a string as a quoted Hydra value."""
    return QuotedString(text, Quote.single).with_quotes()


def text_of(value: object) -> str:
    """Return a value as override text that Hydra reads back with the same value and type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(text_of, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_key(k)}:{text_of(v)}" for k, v in value.items()) + "}"
    if isinstance(value, str):
        bare = re.fullmatch(r"[A-Za-z_][\w./-]*", value, re.ASCII)
        return value if bare and value.lower() not in RESERVED else quote(value)
    return repr(value)


def _key(key: object) -> str:
    """Return a mapping's key; Hydra accepts only unquoted ones, so the string '1' has none."""
    return re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", key) if isinstance(key, str) else text_of(key)
