import sys

from tuner.cli import run

sys.exit(run())
