"""One logger for the package: plain lines on stderr, or in a worker's own file."""

import logging
import sys

log = logging.getLogger("tuner")


def to_stderr(level: int = logging.INFO, prefix: str = "") -> None:
    """Send the package's log to stderr, and Optuna's only from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s {prefix}%(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    )
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False
    logging.getLogger("optuna").setLevel(logging.WARNING)
