"""What configurations compute of themselves: the resolvers that conf/ uses, and what they read."""

from omegaconf import DictConfig, OmegaConf

from tuner.nodes import at

EPOCHS = ("objective.epochs", "trainer.epochs", "objective.trainer.epochs")
"""Where the length of a full training may stand, as a person types it."""

APPLICATION_EPOCHS = ("epochs", "training.epochs", "trainer.epochs", "trainer.max_epochs")
"""… and where in an application's own configuration."""


def epochs_key(cfg: DictConfig) -> str | None:
    """Which of ``EPOCHS`` the objective reads, None if it says no length."""
    read: tuple[str, ...]
    read = EPOCHS if at(cfg, "objective.trainer.epochs") is not None else EPOCHS[:1]
    read = read if at(cfg, "objective.app") is None else APPLICATION_EPOCHS
    return next((key for key in read if isinstance(at(cfg, key), int)), None)


def epochs(cfg: DictConfig) -> int | None:
    """The length of a full training, if the objective says one."""
    key = epochs_key(cfg)
    return None if key is None else int(at(cfg, key))


def devices(cfg: DictConfig) -> int:
    """Devices that one trial takes."""
    found = at(cfg, "objective.trainer.devices")
    return found if isinstance(found, int) else 1


def register() -> None:
    """Make ``${share:…}``, ``${costs:}`` and ``${epochs:…}`` known to every configuration."""
    OmegaConf.register_new_resolver("share", _share, replace=True)
    OmegaConf.register_new_resolver("costs", _costs, replace=True)
    OmegaConf.register_new_resolver("epochs", _epochs, replace=True)


def _share(part: float, whole: int) -> int:
    """So much of a whole number, rounded down."""
    return int(float(part) * int(whole))


def _costs(*, _root_: DictConfig) -> list[str]:
    """What the search wants to know of a configuration beside its metric."""
    asked = [OmegaConf.select(_root_, f"study.{key}") for key in ("objectives", "constraints")]
    found = [str(name) for names in asked if isinstance(names, DictConfig) for name in names]
    metric = OmegaConf.select(_root_, "study.metric")
    return [name for name in dict.fromkeys(found) if name != metric]


def _epochs(fallback: int, *, _root_: DictConfig) -> int:
    """The length of a full training, or what to take where the objective says none."""
    return epochs(_root_) or fallback
