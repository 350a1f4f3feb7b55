"""The OmegaConf resolvers that conf/ uses, and the values that they read."""

from omegaconf import DictConfig, OmegaConf

from tuner.config.lookup import at

EPOCHS = ("objective.epochs", "trainer.epochs", "objective.trainer.epochs")
"""Keys that may hold the length of a full training."""

APPLICATION_EPOCHS = ("epochs", "training.epochs", "trainer.epochs", "trainer.max_epochs")
"""Keys of an application's own configuration that may hold the length of a full training."""


def epochs_key(cfg: DictConfig) -> str | None:
    """Return the key of ``EPOCHS`` that the objective has, None if it declares no length."""
    read: tuple[str, ...]
    read = EPOCHS if at(cfg, "objective.trainer.epochs") is not None else EPOCHS[:1]
    read = read if at(cfg, "objective.app") is None else APPLICATION_EPOCHS
    return next((key for key in read if isinstance(at(cfg, key), int)), None)


def epochs(cfg: DictConfig) -> int | None:
    """Return the length of a full training, if the objective declares one."""
    key = epochs_key(cfg)
    return None if key is None else int(at(cfg, key))


def devices(cfg: DictConfig) -> int:
    """Return the number of devices of one trial."""
    found = at(cfg, "objective.trainer.devices")
    return found if isinstance(found, int) else 1


def register() -> None:
    """Register ``${share:…}``, ``${costs:}`` and ``${epochs:…}`` for all configurations."""
    OmegaConf.register_new_resolver("share", _share, replace=True)
    OmegaConf.register_new_resolver("costs", _costs, replace=True)
    OmegaConf.register_new_resolver("epochs", _epochs, replace=True)


def _share(part: float, whole: int) -> int:
    """Return a fraction of a whole number, rounded down."""
    return int(float(part) * int(whole))


def _costs(*, _root_: DictConfig) -> list[str]:
    """Return the costs that objectives and constraints need besides the metric."""
    asked = [OmegaConf.select(_root_, f"study.{key}") for key in ("objectives", "constraints")]
    found = [str(name) for names in asked if isinstance(names, DictConfig) for name in names]
    metric = OmegaConf.select(_root_, "study.metric")
    return [name for name in dict.fromkeys(found) if name != metric]


def _epochs(fallback: int, *, _root_: DictConfig) -> int:
    """Return the length of a full training, or the given default."""
    return epochs(_root_) or fallback
