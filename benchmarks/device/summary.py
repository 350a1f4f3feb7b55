"""Writes the results of ``benchmarks.device`` as Markdown tables for RESULTS.md.

A dash stands for a figure whose part failed or was not run.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DATA = {
    "fashion-noise": "Fashion-MNIST's size", "cifar-noise": "CIFAR-10's size", "digits": "digits",
}  # fmt: skip
"""Titles of the trainer benchmark's data sets, in the order of the columns."""

DASH = "-"


@dataclass(frozen=True)
class Goal:
    """A figure of each data set, and its goal."""

    title: str
    path: tuple[str, ...]
    """Where the figure is in the results: the part, then keys; ``*`` stands for the data set."""
    wanted: str
    met: Callable[[float], bool]
    shown: str = "{:.2f}"


GOALS = (
    Goal("images a second, of the bare resident loop's", ("paired", "*", "paired", "ratio"),
         "0.90", lambda ratio: ratio >= 0.9),
    Goal("… of the same loop, captured as ours is", ("paired", "*", "paired", "captured", "ratio"),
         "0.90", lambda ratio: ratio >= 0.9),
    Goal("… over those of the loop people write (DataLoader)",
         ("dataloader", "*", "alone", "ratios", "classic"), "3", lambda ratio: ratio >= 3),
    Goal("… the same, tuned (channels_last, fused AdamW)",
         ("dataloader", "*", "alone", "ratios", "tuned"), "3", lambda ratio: ratio >= 3),
    Goal("from the end of a trial to the first step of the next", ("gap", "*", "gap", "same"),
         "0.150 s", lambda seconds: seconds < 0.15, "{:.3f} s"),
    Goal("… of a shape never seen before", ("gap", "*", "gap", "new"), "0.150 s",
         lambda seconds: seconds < 0.15, "{:.3f} s"),
    Goal("training stands still for checkpoints, by default",
         ("checkpoints", "*", "checkpoints", "by default", "held"), "2 %",
         lambda share: share <= 0.02, "{:.1%}"),
    Goal("steps after which a captured step is repaid (GRAPH_PAYS)",
         ("ladder", "*", "ladder", "graph", "repaid_after_steps"), "", lambda _: True, "{:,.0f}"),
    Goal("… a compiled one, against a captured one (COMPILE_PAYS)",
         ("compile", "*", "compile", "compile", "repaid_after_steps"), "", lambda _: True,
         "{:,.0f}"),
)  # fmt: skip

PACKED, FUSED = 3.0, 8.0
"""Goals for packed and fused trials an hour, relative to one trial at a time."""


def markdown(results: Mapping[str, Any]) -> str:
    """Tables of all results and failures."""
    blocks = [
        _heading(results), _goals(results), _ladder(results), _trials(results),
        _search(results), _allocator(results), _tests(results), _parts(results),
    ]  # fmt: skip
    return "\n\n".join(filter(None, blocks)) + "\n"


def figures(results: Mapping[str, Any], part: str, *keys: str) -> Any:
    """The figure of a part under these keys, or None."""
    found = results.get("parts", {}).get(part, {}).get("figures")
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: Any, shown: str = "{:.2f}") -> str:
    return shown.format(value) if isinstance(value, int | float) else DASH


def _heading(results: Mapping[str, Any]) -> str:
    machine = figures(results, "machine") or {}
    gpu, packages = machine.get("gpu") or {}, machine.get("packages") or {}
    drivers = machine.get("nvidia-smi") or [{}]
    device = gpu.get("name") or machine.get("cpu") or results.get("device", "")
    facts = [
        f"{device}" + (f", {gpu['memory_gb']} GB" if gpu else ""),
        f"driver {drivers[0].get('driver_version', DASH)}" if gpu else "no GPU",
        f"torch {packages.get('torch', DASH)}",
        f"Python {machine.get('python', DASH)}",
        f"{machine.get('cores', DASH)} cores",
        f"commit {results.get('commit', DASH)}",
        str(results.get("date", DASH)),
    ]
    command = f"python -m benchmarks.device {results.get('command', '')}".strip()
    lacks = ", ".join(machine.get("missing") or ())
    told = f"`{command}`: {'; '.join(facts)}." + (f" Not installed: {lacks}." if lacks else "")
    tiny = "Tiny parts, to see that they work: the figures tell nothing."
    return f"{told} {tiny}" if results.get("device") == "cpu" else told


def _goals(results: Mapping[str, Any]) -> str:
    data = [name for name in DATA if _measured(results, name)]
    rows = [
        [goal.title, *(_against(goal, results, name) for name in data), goal.wanted]
        for goal in GOALS
    ]
    return table(["what", *(DATA[name] for name in data), "goal"], rows) if data else ""


def _measured(results: Mapping[str, Any], name: str) -> bool:
    return any(figures(results, goal.path[0], name) for goal in GOALS)


def _against(goal: Goal, results: Mapping[str, Any], name: str) -> str:
    value = figures(results, *(name if key == "*" else key for key in goal.path))
    text = number(value, goal.shown)
    return text if text == DASH or goal.met(value) else f"**{text}** (missed)"


def _ladder(results: Mapping[str, Any]) -> str:
    rows = []
    for part in ("ladder", "compile"):
        for name in DATA:
            for rung, row in (figures(results, part, name, part) or {}).items():
                if isinstance(row, Mapping):
                    steps = number(row.get("repaid_after_steps"), "{:,.0f}")
                    cells = number(row["step_ms"], "{:.3f}"), number(row["setup_s"]), steps
                    rows.append([f"{part}: {rung}, {DATA[name]}", *cells])
    return table(["a step", "ms", "s to set up", "repaid after steps"], rows) if rows else ""


def _trials(results: Mapping[str, Any]) -> str:
    rows = []
    for name, arms in (figures(results, "trials", "tables") or {}).items():
        for arm, row in arms.items():
            rate = number(row["trials_an_hour"], "{:,.0f}")
            rows.append([name, arm, rate, number(row["ratio"]), _wanted(arm)])
    return table(["network", "trials", "an hour", "times in turn", "goal"], rows) if rows else ""


def _wanted(arm: str) -> str:
    if "processes" in arm:
        return f"{PACKED:.0f}, the best of them"
    return f"{FUSED:.0f}, the best of them" if arm.startswith("fused") else ""


def _search(results: Mapping[str, Any]) -> str:
    found = figures(results, "search")
    if not found:
        return ""
    return (
        f"`tuner tune` with two workers on {', '.join(found.get('devices') or [DASH])}: first epoch"
        f" after {number(found.get('first_epoch_s'), '{:.1f}')} s, killed after"
        f" {number(found.get('killed_after_s'), '{:.1f}')} s, resumed and ended in"
        f" {number(found.get('resumed_s'), '{:.1f}')} s with"
        f" {found.get('complete', DASH)} configurations, {found.get('resumed_trials', DASH)} of"
        f" them taken up again; best {number(found.get('best'), '{:.4f}')}."
    )


def _allocator(results: Mapping[str, Any]) -> str:
    medians = figures(results, "allocator", "medians") or {}
    rows = [
        [name, number(row["trials_an_hour"], "{:,.0f}"), number(row["reserved_mb"], "{:,.0f}")]
        for name, row in medians.items()
    ]
    return table(["CUDA's allocator", "trials an hour", "MB reserved"], rows) if rows else ""


def _tests(results: Mapping[str, Any]) -> str:
    found = {**(figures(results, "tests") or {}), **(figures(results, "compiled tests") or {})}
    if not found:
        return ""
    counts = Counter(test["outcome"] for test in found.values())
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    lines = [f"Tests marked `gpu`: {told}."]
    for name, test in found.items():
        if test["outcome"] in ("failed", "running"):
            reason = (test.get("reason") or "it did not end").strip().splitlines()[-1]
            lines.append(f"- `{name}` {test['outcome']}: {reason[:200]}")
    return "\n".join(lines)


def _parts(results: Mapping[str, Any]) -> str:
    rows = [
        [name, part["outcome"], f"{part['seconds']:.0f}", f"{part['limit']:.0f}"]
        for name, part in results.get("parts", {}).items()
    ]
    return table(["part", "outcome", "s", "limit"], rows)
