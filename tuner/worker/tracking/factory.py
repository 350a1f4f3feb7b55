"""Build the tracker of a configuration."""

from omegaconf import DictConfig

from tuner.config import instantiation
from tuner.errors import ConfigError
from tuner.worker.tracking.base import Nothing, Tracker


def build_tracker(cfg: DictConfig) -> Tracker:
    """Return the tracker of ``cfg.tracking``; a user's primary configuration may omit it.

    Raises:
        ConfigError: The tracker's library is not installed.
    """
    node = cfg.get("tracking")
    built = Nothing() if node is None else instantiation.instantiate(node)
    if not isinstance(built, Tracker):
        raise ConfigError(f"{node._target_} has no begin(run)", key="tracking._target_")
    return built
