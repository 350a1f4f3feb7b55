"""Start no worker: those that wait elsewhere run the study (``tuner worker --wait``)."""

from tuner.launch.base import Order


class Nothing:
    """The launcher ``launch=none``, and the job that it starts, which has ended at once."""

    spread = detach = True
    no_turns = "launch=none starts no worker; give the turn to those that wait"
    no_final = "the workers that wait run the trials of searches, and no final trainings"
    failure = None
    where = "left to the workers that wait"

    def describe(self) -> str:
        """Return that nothing is started here."""
        return "no worker is started here"

    def start(self, _order: Order) -> "Nothing":
        """Start nothing."""
        return self

    def poll(self) -> bool:
        """Return that nothing runs here."""
        return False

    def stop(self, signal_number: int) -> None:
        """Stop nothing."""

    def kill(self) -> None:
        """Kill nothing."""
