"""Draw docs/live.svg, the README's picture: a real search of the digits, half-way through.

python docs/picture.py     in a directory where the study may lie; takes about a minute
"""

import io
import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tuner.config.composition import Source
from tuner.report.summary import Summary
from tuner.report.terminal import status, view
from tuner.study import study

PICTURE = Path(__file__).parent / "live.svg"
COMMAND = "tuner tune study.name=picture launch.workers=3"
WIDTH = 112
# rich's own frame without its web font: a picture in a page loads nothing.
FRAME = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>{lines}</defs>
<rect fill="#16181d" width="100%" height="100%" rx="8" />
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def main() -> None:
    asked = Source().compose(["study.name=picture"])
    search = subprocess.Popen([sys.executable, "-m", "tuner", *COMMAND.split()[1:]])
    try:
        found = half_way(asked.storage.url, asked.study.n_trials)
    finally:
        search.send_signal(signal.SIGINT)
        search.wait()
    drawn = view.picture(
        found, width=WIDTH, rows=6, n_trials=asked.study.n_trials, epochs=asked.trainer.epochs
    )
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bright_black"), COMMAND))
    console.print(drawn)
    PICTURE.write_text(console.export_svg(title="", code_format=FRAME, unique_id="live"))


def half_way(url: str, n_trials: int) -> Summary:
    """The study once half of it has ended and two configurations have curves to show."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        time.sleep(0.5)
        try:
            found = status.summary_of(study.load(url, "picture", grace=60, patience=5))
        except Exception:  # not there yet
            continue
        curves = [row for row in found.rows if row.state == "running" and len(row.curve) > 3]
        if found.over >= n_trials / 2 and len(curves) >= 2:
            return found
    raise TimeoutError("no picture: the search did not get half-way within ten minutes")


if __name__ == "__main__":
    main()
