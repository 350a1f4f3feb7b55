"""The configuration of a small Slurm cluster, from what ``slurmd -C`` prints on each machine."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from tuner.errors import ConfigError, Mistake

LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
HOST = re.compile(rf"{LABEL}(\.{LABEL})*")
GPUS = re.compile(r"gpu:(?:[\w.-]+:)?(\d{1,3})(?:\(.*\))?")
"""Slurm's notation for GPUs of one kind, such as ``gpu:2`` and ``gpu:a100:2(S:0-1)``."""
HARDWARE = ("CPUs", "Boards", "SocketsPerBoard", "CoresPerSocket", "ThreadsPerCore", "RealMemory")
"""The numbers in a line of ``slurmd -C``; the memory is in MiB."""
USED_MEMORY = 0.95
"""Share of the memory that Slurm is told of."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: the name under which others reach it, and its hardware."""

    host: str
    hardware: dict[str, int]
    gpus: int

    @property
    def name(self) -> str:
        """The name by which Slurm knows it."""
        return short(self.host)

    def line(self) -> str:
        """Return the node's line of slurm.conf."""
        address = {"NodeAddr": self.host} if self.host != self.name else {}
        memory = int(self.hardware["RealMemory"] * USED_MEMORY)
        gpus = {"Gres": f"gpu:{self.gpus}"} if self.gpus else {}
        values = {"NodeName": self.name, **address, **self.hardware, "RealMemory": memory, **gpus}
        return " ".join(f"{key}={value}" for key, value in values.items())

    def devices(self) -> str:
        """Return the node's line of gres.conf, for one or more GPUs."""
        numbers = "0" if self.gpus == 1 else f"[0-{self.gpus - 1}]"
        return f"NodeName={self.name} Name=gpu File=/dev/nvidia{numbers}"


def short(host: str) -> str:
    """Return the part of a host name before its first dot."""
    return host.partition(".")[0]


def configuration(hosts: Sequence[str], printed: str) -> dict[str, str]:
    """Return the files of /etc/slurm: their names and texts.

    Args:
        hosts: Names under which the machines reach each other; the first one is the controller.
        printed: The lines ``NodeName=…`` of ``slurmd -C`` on each machine, with the field
            ``Gres=gpu:N`` where there are N NVIDIA GPUs. All other lines are ignored.

    Raises:
        ConfigError: Lists the errors of all machines.
    """
    if mistakes := _misnamed(hosts):
        raise ConfigError(mistakes)
    rows = [line.split() for line in printed.splitlines() if line.lstrip().startswith("NodeName=")]
    lines = [dict(word.partition("=")[::2] for word in row) for row in rows]
    if mistakes := [mistake for host in hosts for mistake in _mistakes(host, lines)]:
        raise ConfigError(mistakes)
    by_name = {fields["NodeName"]: fields for fields in lines}
    nodes = [_node(host, by_name[short(host)]) for host in hosts]
    found = {"slurm.conf": _slurm_conf(nodes)}
    if devices := [node.devices() for node in nodes if node.gpus]:
        found["gres.conf"] = "\n".join(["AutoDetect=off", *devices, ""])
    return found


def _misnamed(hosts: Sequence[str]) -> list[Mistake]:
    """Return what is wrong with the names of the machines."""
    found = [
        Mistake("--cluster", f"expected a host name, got {host!r}", "its name in DNS or /etc/hosts")
        for host in hosts
        if not HOST.fullmatch(host) or host.rpartition(".")[2].isdigit()  # as in an address
    ]
    for name, count in Counter(map(short, hosts)).items():
        if count > 1:
            hint = "names must differ before the first dot"
            found.append(Mistake("--cluster", f"{name} is named {count} times", hint))
    return found


def _mistakes(host: str, lines: Sequence[dict[str, str]]) -> list[Mistake]:
    """Return what is wrong with the line of a machine."""
    name = short(host)
    mine = [fields for fields in lines if fields["NodeName"] == name]
    hint = f"run slurmd -C on {host}"
    if len(mine) != 1:
        names = ", ".join(fields["NodeName"] for fields in lines) or "no such line"
        alike = [
            fields["NodeName"] for fields in lines if fields["NodeName"].lower() == name.lower()
        ]
        if mine:
            hint = "remove the older ones"
        elif alike:
            hint = f"--cluster with {alike[0]}, as the machine spells it"
        return [Mistake("--nodes", f"expected one line NodeName={name}, got {names}", hint)]
    found = []
    for key in HARDWARE:
        if not re.fullmatch(r"[1-9][0-9]{0,9}", got := mine[0].get(key, "")):
            problem = f"{name}: expected {key}=NUMBER, got {f'{key}={got}' if got else 'none'}"
            found.append(Mistake("--nodes", problem, hint))
    if not GPUS.fullmatch(got := mine[0].get("Gres", "gpu:0")):
        hint = "GPUs of one kind, or none, in each machine"
        found.append(Mistake("--nodes", f"{name}: expected Gres=gpu:NUMBER, got Gres={got}", hint))
    return found


def _node(host: str, fields: dict[str, str]) -> Node:
    """Return the machine of a line without mistakes."""
    gpus = GPUS.fullmatch(fields.get("Gres", "gpu:0"))
    return Node(host, {key: int(fields[key]) for key in HARDWARE}, int(gpus[1]) if gpus else 0)


def _slurm_conf(nodes: Sequence[Node]) -> str:
    first = nodes[0]
    values = {
        "CONTROLLER": first.name if first.name == first.host else f"{first.name}({first.host})",
        "NODES": "\n".join(node.line() for node in nodes),
    }
    template = files("tuner.launch").joinpath("slurm.conf").read_text()
    return re.sub("@([A-Z]+)@", lambda key: values[key[1]], template)
