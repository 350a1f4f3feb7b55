"""Mask the secrets of URLs in text: passwords, tokens, keys and signatures.

A secret may contain any character, so only a value that is known to be a URL can be parsed
reliably; in free text, it is unclear where a URL ends. ``hidden`` and ``remember`` parse values and
record their secrets. ``masked`` replaces recorded secrets anywhere in a text, and also searches it
for URLs that were not recorded. In ambiguous URLs, it masks too much rather than too little.
"""

import json
import re
from collections.abc import Iterator
from urllib.parse import quote, unquote, unquote_plus

HIDDEN = "***"
SHORTEST = 6
"""Minimum length of a recorded secret that is replaced outside of URLs too.

A shorter one would match parts of ordinary words.
"""

SQL = r"(?:postgres|mysql|maria|oracle|mssql|cockroach)[\w+.]*:/{1,2}"
"""The beginning of a database's URL; the second slash is easily forgotten."""
BUCKET = r"\b(?:s3[an]?|gs|gcs|az|abfss?|adl|oss)://"
"""The beginning of a bucket's URL, which has no port."""
PORT = r"(?!\d{1,5}(?:[/?#\s)\]}'\",;.]|$))"
"""Lookahead: what follows the colon is not a port."""
SAFE = r"(?!\*\*\*@|\$\{[^{}]*\}@)"
"""Lookahead: neither masked already nor an interpolation such as ``${oc.env:PASSWORD}``."""

VALUE = re.compile(
    rf"{SQL}[^:]*:{SAFE}(.+)@"  # as SQLAlchemy parses it: @ in users, / in passwords
    rf"|{BUCKET}[^:/?#]*:{SAFE}(.+)@"
    rf"|://[^:/?#\[]*:{SAFE}{PORT}(.+)@"
    r"|\bhttps?://([^:/?#@\[]+)@",  # a token instead of a user
    re.DOTALL | re.IGNORECASE,
)
TEXT = re.compile(
    rf"://[^:/?#\[\s\"]*:{SAFE}{PORT}(?!\s)(.+)@|\bhttps?://([^:/?#@\[\s'\"]+)@", re.IGNORECASE
)
NAME = (
    r"[?&#;](?:[^=&#?;\s]*(?:passw|passphrase|pwd|secret|token|signature|credential|api.?key"
    r"|access.?key)[^=&#?;\s]*|odbc_connect|pass|pw|sig|sas|jwt|key|auth|code)="
)
"""A query parameter that contains a secret, such as ``sslpassword`` or ``X-Amz-Signature``."""
VALUE_QUERY = re.compile(rf"{NAME}([^&]+)", re.IGNORECASE)
TEXT_QUERY = re.compile(rf"{NAME}([^&\s'\"]+)", re.IGNORECASE)

_secrets: tuple[str, ...] = ()
"""Recorded secrets in all their spellings, longest first."""


def hidden(value: str) -> str:
    """Return the value with the secrets of its URLs masked; record them like ``remember``."""
    remember(value)
    return _without(value, _found(value, VALUE, VALUE_QUERY))


def has_secret(value: str) -> bool:
    """Return whether a value is or contains a URL with a secret."""
    return hidden(value) != value


def remember(value: str) -> None:
    """Record the secrets of a value's URLs, for ``masked`` and ``without_secrets`` to replace."""
    global _secrets  # replaced as a whole, because other threads may be reading it
    if not (spans := _found(value, VALUE, VALUE_QUERY)):
        return
    rest = _without(value, spans)
    read = {text for start, end in spans for text in _read(value[start:end])}
    # If user and password are equal, replacing that word would not hide anything.
    found = {form for text in read if len(text) >= SHORTEST and text not in rest
             for form in _forms(text)}  # fmt: skip
    if not found <= {*_secrets}:
        _secrets = tuple(sorted({*_secrets, *found}, key=len, reverse=True))


def without_secrets(text: str) -> str:
    """Return the text with all recorded secrets replaced."""
    for secret in _secrets:
        text = text.replace(secret, HIDDEN)
    return text


def masked(text: str) -> str:
    """Return the text with recorded secrets, and the secrets of all URLs in it, replaced."""
    text = without_secrets(text)
    if "://" not in text:
        return text
    lines = text.split("\n")
    return "\n".join(_without(line, _found(line, TEXT, TEXT_QUERY)) for line in lines)


def _read(secret: str) -> set[str]:
    """Yield possible readings of a secret: it may end at any @, or before a quote or bracket."""
    ends = [found.start() for found in re.finditer("@", secret)]
    parts = [secret, secret.partition("#")[0], *(secret[:end] for end in ends)]
    texts = {text for part in parts for text in (part, part.rstrip("'\")]}"))}
    return {as_read(text) for text in texts for as_read in (str, unquote, unquote_plus)}


def _forms(secret: str) -> set[str]:
    """Return a secret itself, and as escaped by Python, JSON, YAML, a shell, Hydra and URLs."""
    return {
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        secret.replace("'", "''"),
        secret.replace("'", "'\"'\"'"),
        secret.replace("'", "\\'"),
        quote(secret),
        quote(secret, safe=""),
    }


def _found(text: str, user: re.Pattern[str], query: re.Pattern[str]) -> list[tuple[int, int]]:
    """Return start and end of each secret in a text, in order and without overlaps."""
    if ":/" not in text:
        return []
    return _merged(sorted(_spans(text, user, query)))


def _spans(text: str, user: re.Pattern[str], query: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    place = 0
    while match := user.search(text, place):
        assert match.lastindex is not None
        yield match.span(match.lastindex)
        place = match.start() + 1  # a URL may lie within what follows
    for match in query.finditer(text, text.index(":/")):
        yield match.span(1)


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    for start, end in reversed(spans):
        text = f"{text[:start]}{HIDDEN}{text[end:]}"
    return text
