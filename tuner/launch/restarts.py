"""When a dead worker is restarted: the same rules on this machine, on Ray and on Slurm.

``python -m tuner.launch.restarts CODE LIVED LONGEST`` applies them for the script of a Slurm task.
"""

import random
import sys
from dataclasses import dataclass, field

FATAL = (1, 2)
"""Exit codes of a worker that would fail in the same way after a restart."""

FIRST_PAUSE = 1.0
"""Maximum pause in seconds before the first restart; it doubles with each further restart."""

LONGEST_PAUSE = 30.0
"""Maximum of all pauses in seconds; after a worker has run for longer, pauses start over."""


@dataclass
class RestartPolicy:
    """The pauses between the restarts of one worker; it reads no clock."""

    longest: float = field(default_factory=lambda: FIRST_PAUSE)
    """Maximum of the next pause in seconds. Pauses are shortened at random, by up to half, so that
    workers that died at the same time are not restarted at the same time.
    """

    def pause(self, code: int, lived: float) -> float | None:
        """Return the pause before the next restart, or None if the exit code is fatal.

        Args:
            code: Exit code of the worker, negative for a signal.
            lived: Seconds between its start and its end.
        """
        if code in FATAL:
            return None
        longest = FIRST_PAUSE if lived > LONGEST_PAUSE else self.longest
        self.longest = min(2 * longest, LONGEST_PAUSE)
        return longest * (1 - random.random() / 2)


def main(code: str, lived: str, longest: str) -> None:
    """Print the pause and the longest next one in seconds, or nothing if ``code`` is fatal."""
    policy = RestartPolicy(float(longest))
    if (pause := policy.pause(int(code), float(lived))) is not None:
        print(f"{pause:.1f} {policy.longest:g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
