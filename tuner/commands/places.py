"""What is asked before any work of the places that a search needs: do they serve it?"""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryFile

from tuner import mirror, search
from tuner.errors import ConfigError, blamed
from tuner.launch import local
from tuner.nodes import text_at
from tuner.plan import Plan


def mistakes(asked: Plan, makes: Mapping[str, Callable[[], object]]) -> list[str]:
    """What is wrong with how and where to search, as far as it is not known already.

    ``makes`` are judged too unless their sections are known to be wrong; files are written to the
    directories, and none is left.
    """
    known = blamed(asked.mistakes)
    url = text_at(asked.cfg, "study.mirror")
    found = [*search.mistakes(asked), *mirror.mistakes(url)]
    if not mirror.mistakes(url):
        makes = {**makes, "mirror": lambda: mirror.probe(url)}
    found += search.refusals({name: make for name, make in makes.items() if name not in known})
    found += local.missing(text_at(asked.cfg, "worker.device"))
    texts = {key: text_at(asked.cfg, key) for key in ("study.dir", "storage.artifacts")}
    return [*found, *unwritable({key: text for key, text in texts.items() if text})]


def probe(directories: Mapping[str, str | Path]) -> None:
    """Write to where files will go; ``ConfigError`` has what ``unwritable`` finds."""
    if found := unwritable(directories):
        raise ConfigError(found)


def unwritable(directories: Mapping[str, str | Path]) -> list[str]:
    """The directories that refuse a file, by the key or option that names each; none is left."""
    found = []
    for key, text in directories.items():
        path = Path(text).absolute()
        there = next(p for p in (path, *path.parents) if p.exists())
        try:
            with TemporaryFile(dir=there) as file:
                file.write(b"probe")
                file.flush()
        except OSError as error:
            reason = error.strerror or error
            found.append(
                f"{key}: {path} cannot be written to ({reason}); hint: {key}=… names another place"
            )
    return found
