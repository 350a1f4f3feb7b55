"""Build with Hydra what a configuration names."""

from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tuner.config.targets import signature
from tuner.errors import Infeasible, Mistake, TunerError


def instantiate(node: DictConfig, **injected: object) -> Any:
    """Build what ``node`` describes and call it with those of ``injected`` that it accepts."""
    parameters, open_ended = signature(str(node._target_))
    accepted = {k: v for k, v in injected.items() if open_ended or k in parameters}
    try:
        built = hydra.utils.instantiate(node, _partial_=True, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, TunerError | Infeasible):
            raise error.__cause__ from None  # its own words are clearer than Hydra's around them
        raise
    return built(**accepted)


def dry_instantiate(cfg: DictConfig) -> tuple[list[Mistake], dict[str, object]]:
    """What the objective's parts refuse as they are built, or its ``check`` of them; and its facts.

    A callable may have a ``check`` that takes the same keywords: it says what would run, as a
    mapping from names, or raises ``ConfigError``.  Nothing is run.
    """
    try:
        built = hydra.utils.instantiate(cfg.objective, _partial_=True, _convert_="all")
        check = getattr(built.func, "check", None)
        return [], dict(check(**built.keywords) or {}) if check else {}
    except InstantiationException as error:
        cause = error.__cause__ or error
    except (TunerError, OmegaConfBaseException) as error:
        cause = error
    if isinstance(cause, TunerError):
        return cause.mistakes, {}
    said = next(iter(str(cause).splitlines()), "")
    return [Mistake("objective", f"{type(cause).__name__}: {said}")], {}
