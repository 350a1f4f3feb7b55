"""What a command that only looks at a study imports: it answers before anybody waits."""

import subprocess
import sys
from pathlib import Path

LOOK = """
import sys
from tuner import cli
cli.main(["status"])
print([name for name in ("torch", "scipy", "sklearn", "plotly", "ray") if name in sys.modules])
"""


def test_status_imports_neither_the_trainer_nor_the_statistics(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "there is no database" in done.stderr  # the configuration has been read by then
    assert done.stdout.strip() == "[]"
