#!/opt/tuner/bin/python
"""Whether this container does what it was started for: exit code 0 or 1.

The dashboard must answer; of a worker the database must have a sign of life from this host, which a
process that hangs does not give.  Of a training without a study there is nothing to ask.  A worker
that waits ends by itself where it cannot reach the database.
"""

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path


def main() -> int:
    command, *args = Path("/tmp/tuner-command").read_text().splitlines()
    if command == "dashboard":
        port = args[args.index("--port") + 1] if "--port" in args else "8080"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            return int(answer.status != 200)
    if command in ("train", "final") or "--wait" in args:
        return 0
    asked = ["entrypoint.sh", "status", "--json", *args]
    status = json.loads(subprocess.run(asked, stdout=subprocess.PIPE, check=True).stdout)
    here = [w for w in status["workers"] if w["host"] == socket.gethostname()]
    return int(not here)


if __name__ == "__main__":
    sys.exit(main())
