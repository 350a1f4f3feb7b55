"""Parse the documentation: the fenced blocks of its pages, and the commands in them.

Each line of a ``bash`` block is a command; ``python FILE`` and ``yaml FILE`` are files to write
first. A word after ``bash`` names a requirement, or where the commands are run.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
"""The documentation, without the examples' pages, whose commands run in their directories."""


@dataclass(frozen=True)
class Block:
    """A fenced block: ``kind`` and ``rest`` are the words after its three backticks."""

    kind: str
    rest: str
    text: str

    def lines(self) -> list[str]:
        """Return the lines to run, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [re.sub(r"\s+# .*", "", line) for line in lines]


def blocks(page: Path) -> list[Block]:
    fence = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [Block(kind, rest or "", text) for kind, rest, text in fence.findall(page.read_text())]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(page: Path, *needs: str) -> list[str]:
    """Return the lines to run of all blocks with one of the given requirements."""
    found = [b for b in blocks(page) if b.kind == "bash" and b.rest in needs]
    return [line for block in found for line in block.lines()]


def write_files(page: Path, directory: Path) -> None:
    """Write the files that a page shows."""
    for block in blocks(page):
        if block.kind in ("python", "yaml") and block.rest:
            path = directory / block.rest
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
