"""This machine's settings of pip, for the builds of docker/check.sh.

check_pip.py PIP_CONF CONSTRAINTS     writes both, and prints the paths here that they name

Where pip's own directories of wheels hold a torch for the CPU, that one is asked for: it is a
fraction of the size.
"""

import re
import subprocess
import sys
from pathlib import Path

PYTHON = "cp311"
"""Debian bookworm's, on which the image is built."""


def settings() -> dict[str, str]:
    """What files and variables say, the last one winning, as pip itself lists it."""
    asked = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^[\w:-]+\.([\w-]+)='(.*)'$", listed, re.MULTILINE)
    return {name: value.replace("\\n", " ") for name, value in found}


def paths(values: dict[str, str]) -> set[Path]:
    """Files and directories that must be seen at the same place inside."""
    found = set()
    for name, value in values.items():
        for word in value.split():
            path = Path(word.removeprefix("file://"))
            if path.is_absolute() and path.exists():
                found.add(path.parent if "index-url" in name else path)  # its links lead beside it
    return found


def main(conf: Path, constraints: Path) -> None:
    values = settings()
    shared = paths(values)
    wheels = [w for path in shared for w in path.glob(f"torch-*+cpu-{PYTHON}-*.whl")]
    constraints.write_text("".join(f"torch=={w.name.split('-')[1]}\n" for w in wheels[:1]))
    values["constraint"] = f"{values.get('constraint', '')} {constraints}".strip()
    conf.touch(mode=0o600)  # an index may be reached by a password
    conf.write_text("[global]\n" + "".join(f"{k} = {v}\n" for k, v in values.items()))
    print(*sorted(shared), constraints, sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
