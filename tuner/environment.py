"""Environment variables that tuner reads, and sets for the processes that it starts."""

import os
import re
import tempfile

STORAGE_URL = "TUNER_STORAGE_URL"
"""URL of the database; read by conf/storage."""
DASHBOARD_TOKEN = "TUNER_DASHBOARD_TOKEN"

WORKER = "TUNER_WORKER_ID"
"""Id of a worker, with which its launcher reports its end."""
SUPERVISOR = "TUNER_SUPERVISOR_PID"
"""PID of the parent process; the worker exits when that ends."""
REPLACES = "TUNER_REPLACES"
"""Id of a place whose earlier workers are gone, as a launcher on another machine knows."""
DEVICE = "TUNER_DEVICE"
"""Device of a worker, unless ``worker.device`` is set."""
SHARED = "TUNER_SHARED"
"""Path of the lock files of a device that several workers use; see ``device_lock``."""
MEMORY_FRACTION = "TUNER_MEMORY_FRACTION"
"""Fraction of a device's memory that a worker's process may take; the trainer applies it."""

QUEUE = "TUNER_QUEUE"
"""Shell command that prints a line for each job that waits for the slot of this worker, as its
launcher knows; see ``worker.turn``.
"""
GAVE_WAY = 79
"""Exit code of a worker that has requeued its trial because its turn is over: its launcher gives
the slot back to the engine and requests another one.
"""


def device_lock(device: str) -> str:
    """Return the value of ``TUNER_SHARED`` for this user's processes on a device of this machine.

    ``device`` is the name of a GPU (including ``MIG-GPU-…/1/0``), ``cpu``, or that of a process.
    """
    name = re.sub(r"[^\w.-]", "-", device)
    return f"{tempfile.gettempdir()}/tuner-{os.getuid()}-{name}"
