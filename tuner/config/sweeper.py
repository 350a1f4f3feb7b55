"""Convert the keys below an application's ``hydra.sweeper`` to overrides of tuner's command line.

They may have the form of tuner's sections, or that of hydra-optuna-sweeper, whose keys have the
same meaning as there or are refused with a hint.
"""

import functools
import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tuner.config import packaged_files
from tuner.config.lookup import OPERATIONAL
from tuner.config.override_text import text_of
from tuner.config.targets import signature
from tuner.config.types import nearest
from tuner.errors import ConfigError, Mistake
from tuner.log import log
from tuner.masking import remember

RENAMED = {
    "n_trials": "study.n_trials",
    "n_jobs": "launch.workers",
    "study_name": "study.name",
    "max_failure_rate": "worker.max_failure_rate",
}
"""Keys of hydra-optuna-sweeper that tuner has under another name."""

REPLACED = {
    "search_space": "use hydra.sweeper.params with the syntax of overrides, x: interval(0, 1)",
    "custom_search_space": "write conditions as mappings in conf/space/NAME.yaml, and set "
    "hydra.sweeper.space=NAME",
}
"""Keys of hydra-optuna-sweeper that tuner does not have, with a hint."""

OPTIONS = {
    "TPESampler": "optuna_tpe",
    "MOTPESampler": "optuna_tpe",
    "RandomSampler": "random",
    "CmaEsSampler": "cmaes",
    "NSGAIISampler": "nsga2",
    "GPSampler": "gp",
    "QMCSampler": "qmc",
    "GridSampler": "grid",
    "MedianPruner": "median",
    "PercentilePruner": "percentile",
    "SuccessiveHalvingPruner": "successive_halving",
    "HyperbandPruner": "hyperband",
    "PatientPruner": "patient",
    "ThresholdPruner": "threshold",
    "NopPruner": "none",
}
"""Optuna's classes → tuner's options of ``sampler`` and ``pruner`` that build them."""

FORMER = {
    "consider_prior": True,
    "prior_weight": 1.0,
    "consider_magic_clip": True,
    "consider_endpoints": False,
    "warn_independent_sampling": True,
    "inc_popsize": 2,
}
"""Defaults that hydra-optuna-sweeper writes, and that Optuna has removed or warns about."""

THEIR_OWN = "hydra_plugins.hydra_optuna_sweeper."

KNOWN = ("params", "settings", "direction", "seed", *RENAMED, *REPLACED, *sorted(OPERATIONAL))


def overrides(written: Mapping[str, Any], typed: Sequence[str] = ()) -> list[str]:
    """Return the overrides of a node ``hydra.sweeper``.

    Args:
        written: The node as plain values, without its ``_target_``.
        typed: Hydra's own overrides on the command line. In the composed node, a key below a
            section replaces the option that was selected before it.

    Raises:
        ConfigError: Lists all errors, with the keys of ``hydra.sweeper``.
    """
    reader = _Reader(written)
    for text in typed:
        named = re.fullmatch(r"\+*hydra\.sweeper\.(\w+)=([\w-]+)", text)
        if named and isinstance(written.get(named[1]), Mapping):
            reader.option(*named.groups())
    reader.read()
    if reader.mistakes:
        raise ConfigError([m.at(f"hydra.sweeper.{m.key}") for m in reader.mistakes])
    return [*reader.params(), *reader.found.values()]


def strip_plus(arguments: Sequence[str]) -> list[str]:
    """Return overrides of an application; those of tuner's sections without the ``+``.

    Hydra requires the ``+``, because the application does not have these keys; tuner does.
    """
    ours = rf"\++(?=(?:{'|'.join(sorted(OPERATIONAL))})[.=@/])"
    return [re.sub(rf"^{ours}", "", text) for text in arguments]


class _Reader:
    def __init__(self, written: Mapping[str, Any]) -> None:
        self.written = {str(key): value for key, value in written.items() if value is not None}
        self.found: dict[str, str] = {}
        """Key → override."""
        self.mistakes: list[Mistake] = []
        self.theirs = False
        """Whether any key is written as for hydra-optuna-sweeper."""

    def read(self) -> None:
        for key in self.written:
            if key in REPLACED:
                self._mistaken(key, "cannot be searched", REPLACED[key])
            elif key not in KNOWN and not self._is_their_way(key):
                self._mistaken(key, "unknown key", nearest(key, KNOWN))
        for key, value in self._below("params").items():
            if isinstance(value, Mapping):
                hint = "write the space to conf/space/NAME.yaml, and set hydra.sweeper.space=NAME"
                self._mistaken(f"params.{key}", "a mapping is a condition", hint)
        for key, value in self._below("settings").items():
            self._setting(f"settings.{key}", str(key), value)
        for key in sorted((OPERATIONAL | {"seed"}) & self.written.keys()):
            self._setting(key, key, self.written[key])
        for key in sorted(RENAMED.keys() & self.written.keys()):
            self.theirs = True
            self._say(key, RENAMED[key], self.written[key])
        self._direction(self.written.get("direction"))
        if self.theirs:  # its applications return a value that has no name
            self.found.setdefault("study.metric", "study.metric=value")

    def _mistaken(self, key: str, problem: str, hint: str = "") -> None:
        self.mistakes.append(Mistake(key, problem, hint))

    def _is_their_way(self, key: str) -> bool:
        """Return whether a key only selects the class of hydra-optuna-sweeper that runs trials."""
        return key == "experiment_sequence" and str(self.written[key]).startswith(THEIR_OWN)

    def option(self, section: str, name: str) -> None:
        if section in OPERATIONAL:
            self.found[section] = f"{section}={name}"

    def params(self) -> list[str]:
        """Read the search space, and the overrides pinned in it."""
        return [
            f"{key}={value if isinstance(value, str) else text_of(value)}"
            for key, value in self._below("params").items()
        ]

    def _below(self, key: str) -> Mapping[str, Any]:
        value = self.written.get(key, {})
        if isinstance(value, Mapping):
            return value
        self._mistaken(key, f"expected a mapping, got {value!r}", f"{key}: {{a.b: …}}")
        return {}

    def _say(self, where: str, key: str, value: Any, *, prefix: str = "") -> None:
        text = f"{prefix}{key}={text_of(value)}"
        remember(text)
        if self.found.setdefault(key, text) != text:
            self._mistaken(where, f"{key} is set twice, also as {self.found[key]}")

    def _setting(self, where: str, key: str, value: Any) -> None:
        """Read a section, an option of it by name, or one key of it."""
        top = key.partition(".")[0]
        if top not in OPERATIONAL | {"seed"}:
            known = sorted(OPERATIONAL)
            self._mistaken(where, "not a section of tuner's configuration", nearest(top, known))
        elif key == "storage" and isinstance(value, str) and "://" in value:
            self.theirs = True
            self._say(where, "storage.url", value)
        elif not isinstance(value, Mapping) or "." in key:
            self._say(where, key, value)
        elif "_target_" in value:
            self.theirs = True
            self._built(where, key, dict(value))
        else:
            for name, item in value.items():
                self._say(f"{where}.{name}", f"{key}.{name}", item)

    def _built(self, where: str, section: str, node: dict[str, Any]) -> None:
        """Read an Optuna object: select tuner's option that builds it, and set its arguments."""
        target = str(node.pop("_target_"))
        name = target.rpartition(".")[2]
        if section == "storage" and name == "RDBStorage":
            self._setting(where, section, node)
            return
        if section not in ("sampler", "pruner") or name not in OPTIONS:
            file = (
                f"write its _target_ to conf/{section}/NAME.yaml, and set hydra.sweeper.{section}"
            )
            cure = "storage.url=sqlite:///runs/tuner.db" if section == "storage" else f"{file}=NAME"
            self._mistaken(where, f"{target} is not an option of tuner", cure)
            return
        self._say(where, section, OPTIONS[name])
        if section == "sampler" and (seed := node.pop("seed", None)) is not None:
            self._say(f"{where}.seed", "seed", seed)  # ours derives each trial's draws from it
        if node.get("multivariate") is False:
            node.setdefault("group", False)  # which our option has on, and which needs the other
        if section == "sampler" and "n_ehvi_candidates" in node:
            node.setdefault("n_ei_candidates", node.pop("n_ehvi_candidates"))
        for key, value in node.items():
            if key == "_partial_" or value is None or FORMER.get(key) == value:
                continue
            if key in _foreign(section, name):
                log.warning(
                    "hydra.sweeper.%s.%s: %s=%s has no such argument; it is ignored",
                    where, key, section, OPTIONS[name],
                )  # fmt: skip
            else:
                self._say(f"{where}.{key}", f"{section}.{key}", value, prefix="++")

    def _direction(self, value: Any) -> None:
        several = value if isinstance(value, list) else [value]
        ways = [str(getattr(way, "name", way)) for way in several]
        if value is None or not ways:
            if self.theirs and "study.direction" not in self.found:
                told = "missing; hydra-optuna-sweeper minimises by default, and tuner maximises"
                hint = "hydra.sweeper.direction=minimize, or maximize"
                self._mistaken("direction", told, hint)
            return
        self._say("direction", "study.direction", ways[0])
        if len(ways) == 1:
            return
        if "study.objectives" in self.found:
            told = "study.objectives names the other objectives and their directions"
            self._mistaken("direction", told, f"direction={ways[0]}")
            return
        others = {f"value_{place}": way for place, way in enumerate(ways) if place}
        self._say("direction", "study.objectives", others)
        self.found.setdefault("study.metric", "study.metric=value_0")  # until they are given names


@functools.cache
def _foreign(section: str, name: str) -> frozenset[str]:
    """Return parameters of an Optuna class, of any version, that tuner's option does not have."""
    module = importlib.import_module(f"optuna.{section}s")
    now = signature(f"{module.__name__}.{name}")[0] if hasattr(module, name) else {}
    option = packaged_files.directory("conf") / section / f"{OPTIONS[name]}.yaml"
    ours, _ = signature(str(yaml.safe_load(option.read_text())["_target_"]))
    return frozenset({*FORMER, *now}) - ours.keys()
