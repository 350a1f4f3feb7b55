"""Search the arguments of a function, and open studies."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from tuner.api import arguments, functions, running, secret_overrides
from tuner.api.running import Asked
from tuner.api.study import Study
from tuner.config.composition import Source
from tuner.config.override_text import quote, text_of
from tuner.errors import ConfigError
from tuner.study import location


def search(
    function: Callable[..., Any],
    space: Mapping[str, Any],
    *,
    n_trials: int | None = 24,
    metric: str = "accuracy",
    direction: Literal["maximize", "minimize"] = "maximize",
    name: str | None = None,
    url: str | None = None,
    workers: int | None = None,
    seed: int = 0,
    overrides: Sequence[str] = (),
) -> Study:
    """Search the arguments of a function, and return the study.

    This is ``tuner tune`` for a function: if the database has a study of this name, it is resumed,
    and all errors are found before the first trial. After Ctrl-C, or the interrupt of a notebook,
    running trials are requeued at their next report; after a second one, at once. The same call
    resumes the study.

    Args:
        function: Called with the keywords of the space and ``report``. It returns the final value,
            or None to use the last reported one. ``report(epoch, accuracy=…)`` may raise an
            exception to prune the trial: do not catch it. If the function has parameters
            ``run_dir``, ``seed`` or ``device``, they are passed as well.
        space: Keyword → distribution in Hydra's sweep grammar: ``interval(0, 1)``,
            ``int(interval(1, 8))``, ``tag(log, interval(1e-4, 1))``, ``choice(a, b)`` or
            ``range(0, 10, 2)``. A mapping is a choice; each of its options maps to the keywords
            that are searched only with it. Any other value is passed unchanged.
        n_trials: Number of configurations over the lifetime of the study. None: no limit; set one
            of ``budget``, such as ``overrides=["budget.hours=1"]``.
        metric: The reported metric that is optimised.
        direction: Whether to maximise or to minimise it.
        name: Name of the study; that of the function if None. Its files are in ``runs/NAME``.
        url: URL of the database; if None, ``TUNER_STORAGE_URL``, or else the file
            ``runs/tuner.db``.
        workers: Number of worker processes; 0 runs the trials in this process. If None, a function
            of a module gets as many workers as ``tuner tune`` starts, and any other function runs
            in this process: workers cannot import a function that is defined in ``__main__``, a
            notebook or another function, and functions are never pickled. A function in this
            process can use large data and be debugged.
        seed: Seed of the study, from which the seed of each trial is derived.
        overrides: Further overrides of ``tuner tune``, such as ``sampler=random``.

    Returns:
        The study, which has ended.

    Raises:
        ConfigError: Lists all errors in the arguments.
        TunerError: The study was created by another search, the objective fails too often, or no
            trial has a value.
        KeyboardInterrupt: The search was interrupted.

    Example:
        >>> import tuner
        >>> def train(lr, *, report):
        ...     for epoch in range(1, 4):
        ...         report(epoch, accuracy=1 - (lr - 0.3) ** 2 * epoch / 3)
        >>> study = tuner.search(train, {"lr": "range(0.1, 0.5, 0.1)"}, n_trials=4)
        >>> study.best.params
        {'lr': 0.3}
    """
    if not callable(function):
        told = f"expected a function, got {function!r}"
        raise ConfigError(told, key="function", hint="def train(lr, *, report): …")
    imported = functions.imported_as(function)
    inside = workers == 0 or imported is None
    wrong = [functions.not_importable(function)] if inside and workers else []
    settings: dict[str, object] = {
        "n_trials": n_trials,
        "metric": metric,
        "direction": direction,
        "name": functions.name(function) if name is None else name,
        "seed": seed,
    }
    settings |= {} if url is None else {"url": url}
    settings |= {} if workers is None or inside else {"workers": workers}
    with arguments.in_python():
        target = imported or functions.kept(function)
        words = arguments.overrides(target, space, settings, overrides, wrong)
        asked = Asked(Source(), tuple(words), None if imported else function, inside)
        return Study(*running.run(asked, wrong), asked)


def open(
    name: str,
    *,
    url: str | None = None,
    config_dirs: Sequence[str | PathLike[str]] = (),
    overrides: Sequence[str] = (),
) -> Study:
    """Open an existing study, which other processes and machines may be running.

    Args:
        name: Name of the study.
        url: URL of the database; if None, ``TUNER_STORAGE_URL``, or else the file
            ``runs/tuner.db``.
        config_dirs: Configuration directories of the search, for ``run`` and ``final``.
        overrides: Overrides of the search, for ``run`` and ``final``; not needed to read results.

    Returns:
        The study.

    Raises:
        ConfigError: The name is not valid for a study.
        TunerError: The database cannot be read, or has no such study; the message lists the
            existing ones.

    Example:
        >>> import tuner
        >>> tuner.open("train").best.value
        1.0
    """
    place = [] if url is None else [secret_overrides.moved(f"storage.url={quote(url)}")]
    named = [f"study.name={text_of(name)}", *place]
    source = Source(tuple(Path(each).resolve() for each in config_dirs))
    asked = Asked(source, (*overrides, *named))
    with arguments.in_python():
        given = {} if url is None else {"storage.url": url}
        found = location.named(name, given)
        return Study(found.load(), found.directory, asked)
