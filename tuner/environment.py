"""Environment variables that tuner reads, and sets for the processes that it starts."""

import os
import re
import tempfile

STORAGE_URL = "TUNER_STORAGE_URL"
"""The database; conf/storage reads it."""
DASHBOARD_TOKEN = "TUNER_DASHBOARD_TOKEN"

WORKER = "TUNER_WORKER_ID"
"""The id of a worker; its launcher tells of its end by it."""
SUPERVISOR = "TUNER_SUPERVISOR_PID"
"""PID of the parent process with whose end a worker leaves."""
REPLACES = "TUNER_REPLACES"
"""Id of a place whose earlier workers are gone, as a launcher on another machine knows."""
DEVICE = "TUNER_DEVICE"
"""Device of a worker that ``worker.device`` names none for."""
SHARED = "TUNER_SHARED"
"""Path of the lock files of a device that several workers use; see ``device_lock``."""
MEMORY_FRACTION = "TUNER_MEMORY_FRACTION"
"""Share of a device's memory that a worker's process may take; the trainer obeys it."""


def device_lock(device: str) -> str:
    """The value of ``TUNER_SHARED`` for the processes of this user on a device of this machine.

    ``device`` is the name of a GPU (of ``MIG-GPU-…/1/0`` too), ``cpu``, or that of a process.
    """
    name = re.sub(r"[^\w.-]", "-", device)
    return f"{tempfile.gettempdir()}/tuner-{os.getuid()}-{name}"
