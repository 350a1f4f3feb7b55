"""``pip install`` with a line a package, and a sign of life where one takes long.

What pip says of errors comes through as it is, and so does its exit code.
"""

import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

SILENCE = 10.0
"""Seconds after which it is said that pip is still at work: PyTorch is large."""

GOT = re.compile(
    r"\s*(?:Downloading|Using cached|Processing) (?:.*/)?([^/\s]+?)-(\d[^-\s]*)-\S*(.*)"
)


def told(line: str) -> str:
    """What to show of a line of pip's, if anything."""
    if line.startswith("Installing collected packages: "):
        return f"installing {line.count(',') + 1} packages"
    got = GOT.match(line)
    if got is None or ".metadata" in line:
        return ""
    size = re.search(r"\([\d.]+ \wB\)", got[3])
    return " ".join(["  got", got[1], got[2], *([size[0]] if size else [])])


def lines(process: subprocess.Popen[str]) -> Iterator[str | None]:
    """What pip prints; None for each while in which it printed nothing."""
    printed: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            printed.put(line)
        printed.put("")

    threading.Thread(target=read, daemon=True).start()
    line: str | None = None
    while line != "":
        try:
            line = printed.get(timeout=SILENCE)
        except queue.Empty:
            line = None
        if line != "":
            yield line


def main(asked: list[str]) -> int:
    began = time.monotonic()
    command = [sys.executable, "-m", "pip", "install", "--progress-bar=off", *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in lines(process):
            shown = f"  … {time.monotonic() - began:.0f} s" if line is None else told(line)
            if shown:
                print(shown, file=sys.stderr, flush=True)
    if process.returncode == 0:
        print(f"installed, in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
