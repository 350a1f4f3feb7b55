"""A user's launcher: workers on this machine, for whose places somebody else always waits."""

from tuner.environment import QUEUE
from tuner.launch import restarts
from tuner.launch.local import Local
from tuner.study import start_cost

start_cost.TIMES = 0  # turns of seconds, whatever a start costs
restarts.LONGEST_PAUSE = 1.0  # a place that was given up is free again soon


class Turns(Local):
    """Workers that give way after each turn, and are started again."""

    spread = True  # else turns are refused

    def _environment(self, device: str | None) -> dict[str, str]:
        return {**super()._environment(device), QUEUE: "echo another study"}
