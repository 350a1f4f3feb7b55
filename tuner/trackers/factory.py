"""Build the tracker of a configuration."""

from omegaconf import DictConfig

from tuner import config
from tuner.errors import ConfigError
from tuner.tracking import Nothing, Tracker


def build_tracker(cfg: DictConfig) -> Tracker:
    """Return the tracker of ``cfg.tracking``; a user's primary configuration may omit it.

    Raises:
        ConfigError: The tracker's library is not installed.
    """
    node = cfg.get("tracking")
    built = Nothing() if node is None else config.instantiate(node)
    if not isinstance(built, Tracker):
        raise ConfigError(f"{node._target_} has no begin(run)", key="tracking._target_")
    return built
