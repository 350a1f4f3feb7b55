"""Write the report of a study to a file that the caller names."""

from collections.abc import Callable
from pathlib import Path

from tuner.config import directories
from tuner.errors import ConfigError
from tuner.report.commands import UNKNOWN, Commands
from tuner.report.summary import Summary
from tuner.report.terminal import status
from tuner.report.write import write_page
from tuner.study.study import Study

FORMATS = ("html", "md", "png")


def form_of(output: Path | None, key: str) -> str:
    """Return the report's format by the suffix of its file; HTML without a file or a suffix.

    Args:
        key: The argument or option that names the file, for the message.

    Raises:
        ConfigError: The suffix is not that of a format.
    """
    ending = output.suffix.lstrip(".").lower() if output else ""
    if ending in ("", "htm"):
        return FORMATS[0]
    if ending not in FORMATS:
        told = f"expected a name that ends with .html, .md or .png, got {str(output)!r}"
        raise ConfigError(told, key=key, hint="report.html, for example")
    return ending


def write(
    study: Study,
    output: Path,
    directory: Path,
    form: str,
    key: str,
    commands: Callable[[Summary], Commands] = lambda _: UNKNOWN,
) -> Path:
    """Write the report and return its path.

    Args:
        directory: The study's directory, with its final trainings and images.
        key: The argument or option that names the file, for messages.
        commands: Returns the commands that are shown.

    Raises:
        ConfigError: The file cannot be written.
    """
    directories.check_output(output, key)
    found = status.summary_of(study)
    return write_page(study.optuna, output, directory, form, found, commands(found))
