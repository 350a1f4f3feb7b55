"""Instantiate the objects that a configuration describes, with Hydra."""

from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tuner.config.targets import signature
from tuner.errors import Infeasible, Mistake, TunerError


def instantiate(node: DictConfig, **injected: object) -> Any:
    """Instantiate ``node``, passing those of the ``injected`` arguments that it accepts."""
    parameters, open_ended = signature(str(node._target_))
    accepted = {k: v for k, v in injected.items() if open_ended or k in parameters}
    try:
        built = hydra.utils.instantiate(node, _partial_=True, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, TunerError | Infeasible):
            raise error.__cause__ from None  # its message is clearer than Hydra's
        raise
    return built(**accepted)


def dry_instantiate(cfg: DictConfig) -> tuple[list[Mistake], dict[str, object]]:
    """Return the errors of the objective and its components, and the facts of its ``check``.

    The components are instantiated, but nothing is run. A callable may have an attribute ``check``,
    a function with the same keywords, which returns facts about what would run, by name, or raises
    ``ConfigError``.
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
