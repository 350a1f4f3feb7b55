"""The configuration of a Slurm cluster from the output of ``slurmd -C``; real daemons read it in
tests/test_workstations.py.
"""

import pytest

from tuner.errors import ConfigError
from tuner.launch.slurm_cluster import configuration


def line(name: str, *, gres: str = "", **changed: object) -> str:
    """What ``slurmd -C`` prints on a machine, and the GPUs that the user adds."""
    hardware = {"CPUs": 32, "Boards": 1, "SocketsPerBoard": 1, "CoresPerSocket": 16,
                "ThreadsPerCore": 2, "RealMemory": 64000} | changed  # fmt: skip
    fields = " ".join(f"{key}={value}" for key, value in hardware.items())
    return f"NodeName={name} {fields}{gres and f' Gres={gres}'}\nUpTime=0-18:54:56\n"


def test_each_machine_has_its_line_and_the_first_is_the_controller():
    printed = line("ws2", gres="gpu:2") + "ssh: a warning\n" + line("ws1", gres="gpu:0")
    files = configuration(["ws1", "ws2"], printed + line("ws3"))
    assert files.keys() == {"slurm.conf", "gres.conf"}
    written = files["slurm.conf"].splitlines()
    hardware = "CPUs=32 Boards=1 SocketsPerBoard=1 CoresPerSocket=16 ThreadsPerCore=2"
    assert [text for text in written if text.startswith(("SlurmctldHost", "NodeName"))] == [
        "SlurmctldHost=ws1",
        f"NodeName=ws1 {hardware} RealMemory=60800",
        f"NodeName=ws2 {hardware} RealMemory=60800 Gres=gpu:2",
    ]
    assert "@" not in files["slurm.conf"]
    assert files["gres.conf"] == "AutoDetect=off\nNodeName=ws2 Name=gpu File=/dev/nvidia[0-1]\n"


def test_machines_without_gpus_need_no_gres_conf():
    assert configuration(["ws1"], line("ws1")).keys() == {"slurm.conf"}


def test_a_long_name_is_the_address_of_the_machine():
    text = configuration(["a.lab.example", "b"], line("a") + line("b"))["slurm.conf"]
    assert "SlurmctldHost=a(a.lab.example)" in text
    assert "NodeName=a NodeAddr=a.lab.example CPUs" in text
    assert "NodeName=b CPUs" in text


@pytest.mark.parametrize("gres", ["gpu:1", "gpu:nvidia_a100:1", "gpu:a100:1(S:0-1)"])
def test_gpus_are_counted_in_each_of_slurms_notations(gres):
    files = configuration(["ws1"], line("ws1", gres=gres))
    assert "Gres=gpu:1\n" in files["slurm.conf"]
    assert "File=/dev/nvidia0\n" in files["gres.conf"]


@pytest.mark.parametrize("name", ["ws[1-4]", "10.0.0.1", "-a", "a_b", "", "a..b", "a b", "a\nb=c"])
def test_a_name_that_is_no_host_name_is_refused(name):
    with pytest.raises(ConfigError) as raised:
        configuration(["ws1", name], line("ws1"))
    assert [(m.key, m.problem) for m in raised.value.mistakes] == [
        ("--cluster", f"expected a host name, got {name!r}")
    ]


def test_a_machine_may_be_named_once():
    with pytest.raises(ConfigError, match="ws1 is named 2 times"):
        configuration(["ws1", "ws2", "ws1.lab"], line("ws1") + line("ws2"))


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("sh: slurmd: not found\n", "expected one line NodeName=ws1, got no such line"),
        (line("ws2"), "expected one line NodeName=ws1, got ws2"),
        (line("ws1") * 2, "expected one line NodeName=ws1, got ws1, ws1"),
        ("NodeName=ws1 CPUs=8\n", "ws1: expected RealMemory=NUMBER, got none"),
        (line("ws1", CPUs="many"), "ws1: expected CPUs=NUMBER, got CPUs=many"),
        (line("ws1", CPUs=0), "ws1: expected CPUs=NUMBER, got CPUs=0"),
        (line("ws1", gres="gpu:a:1,gpu:b:1"), "ws1: expected Gres=gpu:NUMBER"),
        (line("ws1", gres="shard:4"), "ws1: expected Gres=gpu:NUMBER, got Gres=shard:4"),
    ],
)
def test_a_line_that_slurmd_did_not_print_is_refused(printed, told):
    with pytest.raises(ConfigError) as raised:
        configuration(["ws1"], printed)
    assert {mistake.key for mistake in raised.value.mistakes} == {"--nodes"}
    assert told in str(raised.value)


def test_a_line_may_be_indented_as_where_it_was_pasted_from():
    assert "NodeName=ws1 CPUs" in configuration(["ws1"], f"  {line('ws1')}")["slurm.conf"]


@pytest.mark.parametrize(
    ("printed", "hint"),
    [
        (line("ws1", CPUs=2) + line("ws1"), "remove the older ones"),
        (line("WS1"), "--cluster with WS1, as the machine spells it"),
    ],
)
def test_the_cure_of_a_line_twice_or_in_capitals_is_told(printed, hint):
    with pytest.raises(ConfigError) as raised:
        configuration(["ws1"], printed)
    assert [mistake.hint for mistake in raised.value.mistakes] == [hint]


def test_the_mistakes_of_all_machines_are_told_together():
    with pytest.raises(ConfigError) as raised:
        configuration(["ws1", "ws2", "ws3"], line("ws1", CPUs="x") + line("ws2"))
    assert [m.hint for m in raised.value.mistakes] == [
        "run slurmd -C on ws1",
        "run slurmd -C on ws3",
    ]
