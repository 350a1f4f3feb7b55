"""Check the URLs of databases, and give hints."""

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from tuner.config import extras
from tuner.config.types import nearest
from tuner.environment import STORAGE_URL
from tuner.errors import Mistake, StorageError
from tuner.masking import hidden, remember
from tuner.storage.dialects import DRIVERS, is_file

REST = "user:password@host/database"
"""What follows ``://``."""

MEND = "restore a backup, or recover the data with sqlite3 FILE .recover"
"""Hint for a damaged SQLite file."""

CURES = (
    (("authentication failed", "Access denied", "no password"), "check user and password"),
    (("resolve", "translate host name"), "check the host name"),
    (("does not exist", "Unknown database"), "create it on the server first, or name another"),
    (
        ("permission denied for", "command denied"),
        "grant the role the privileges that docs/security.md lists",
    ),
    (("unable to open database file",), "check that its directory is writable"),
    (("malformed", "not a database", "can't decode"), f"the file is damaged: {MEND}"),
    (("connection option",), "leave the option out of the URL"),
)
"""Messages of servers and drivers for which waiting does not help → the hint."""


def masked(url: str) -> str:
    """Return the URL with its secrets masked; also record them, so that logs mask them."""
    shown = hidden(url)
    try:
        make_url(url)
    except (ArgumentError, ValueError):
        return "a malformed URL"
    return shown


def validate(url: str) -> None:
    """Raise ``StorageError`` for a URL that is invalid or whose driver is not installed."""
    parsed = parse(url)
    try:
        parsed.get_dialect().import_dbapi()
    except ImportError as error:
        raise StorageError([unusable(parsed, error)]) from error


def parse(url: str) -> URL:
    """Parse a URL and record its secrets, so that logs mask them.

    Raises:
        StorageError: It is not a URL, or is incomplete.
    """
    remember(url)
    if not url.strip():
        raise StorageError(
            "empty",
            key="storage.url",
            hint=f"export {STORAGE_URL}={DRIVERS['postgresql'][0]}://{REST}, or "
            "unset it for a file",
        )
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:  # a port that is no number
        raise StorageError("not a database URL", key="storage.url", hint=_meant(url)) from error
    try:
        parsed.get_dialect()
    except NoSuchModuleError as error:
        kinds = {"sqlite": "sqlite", **{kind: begin for kind, (begin, _) in DRIVERS.items()}}
        kind = parsed.get_backend_name()
        hint = nearest("postgresql" if kind == "postgres" else kind, list(kinds))
        begins = [f" Its URLs begin with {b}://" for k, b in kinds.items() if f"{k!r}?" in hint]
        raise StorageError(
            f"no database of the kind {parsed.drivername!r} is known",
            key="storage.url",
            hint="".join([hint, *begins]),
        ) from error
    except ImportError:
        return parsed  # the driver is missing, which `validate` says
    _complete(parsed)
    return parsed


def _complete(url: URL) -> None:
    if "@" in (url.host or ""):  # a driver would tell this host, which is half of a password
        raise StorageError(
            "more than one @", key="storage.url", hint="in a user or password write %40 for it"
        )
    if not is_file(url):
        if not (url.host or url.query) and url.database is None:
            begin = f"{url.drivername}://"
            raise StorageError(
                f"{begin} names no database, and {STORAGE_URL} is not set",
                key="storage.url",
                hint=f"export {STORAGE_URL}={begin}{REST}",
            )
    elif url.host:
        raise StorageError(
            "the URL of a SQLite file has no host",
            key="storage.url",
            hint=f"sqlite:///{url.host}/{url.database or ''}, with three slashes",
        )
    elif url.database in (None, "", ":memory:"):
        raise StorageError(
            "a database in memory cannot be shared by workers",
            key="storage.url",
            hint="sqlite:///runs/tuner.db",
        )


def _meant(text: str) -> str:
    """Return the URL that a text may have been meant to be; it may hold a password."""
    if text.startswith("sqlite:") and "@" not in text:
        path = text.removeprefix("sqlite:").lstrip("/")
        return f"three slashes before a path from here, sqlite:///{path}; four before one from /"
    return f"sqlite:///runs/tuner.db or {DRIVERS['postgresql'][0]}://{REST}"


def unusable(url: URL, error: Exception) -> Mistake:
    """Return how to install a missing driver and begin the URL, or what the driver rejects."""
    shown = masked(url.render_as_string(hide_password=False))
    if not isinstance(error, ImportError):
        return Mistake("storage.url", f"{shown}: {error}", "leave the option out of the URL")
    if url.get_backend_name() not in DRIVERS:
        return Mistake("storage.url", f"no driver for {shown} ({error})", "install its driver")
    begin, driver = DRIVERS[url.get_backend_name()]
    also = "" if url.drivername == begin else f", and {begin}://… as the URL"
    return Mistake("storage.url", f"no driver for {shown}", f"{extras.cure(driver)}{also}")


def cure(url: URL, reason: str) -> tuple[bool, str]:
    """Return the hint if waiting does not help for this reason of a server or driver."""
    for said, hint in CURES:
        if any(text in reason for text in said):
            return True, hint
    if is_file(url):
        return False, "may you write in its directory, and is it a database of tuner's or Optuna's?"
    return False, "check that the server is running, and host and port"
