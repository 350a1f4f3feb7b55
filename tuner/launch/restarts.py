"""When a worker that has died is started again: the same rules on this machine, Ray and Slurm.

``python -m tuner.launch.restarts CODE LIVED LONGEST`` applies them for the script of a Slurm task.
"""

import random
import sys
from dataclasses import dataclass, field

FATAL = (1, 2)
"""Exit codes of a worker after which a restart would end in the same way."""

FIRST_PAUSE = 1.0
"""Maximum pause in seconds before the first restart; it doubles with each further restart."""

LONGEST_PAUSE = 30.0
"""Maximum of all pauses in seconds; a worker that lived for longer starts with the first again."""


@dataclass
class RestartPolicy:
    """The pauses between the restarts of one worker; it reads no clock."""

    longest: float = field(default_factory=lambda: FIRST_PAUSE)
    """Maximum of the next pause in seconds; up to half of it is left out at random, so that workers
    that died together are not started together.
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
