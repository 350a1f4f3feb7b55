"""Read the configurations that are stored with studies, as YAML, and compare them."""

import yaml

from tuner.errors import StudyError


def changed(old: str, new: str) -> list[str]:
    """Return the keys in which two YAML texts differ, except locations of data (a ``root``)."""
    before, after = flat(old), flat(new)
    return [
        f"{key}: {after.get(key, 'absent')} here, {before.get(key, 'absent')} in the study"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and key.rpartition(".")[2] not in ("root", "download")
    ]


def flat(text: str) -> dict[str, object]:
    """Return the values of a YAML text by dotted key.

    Raises:
        StudyError: The text is not plain YAML.
    """
    return _flat(_read(text))


def _read(text: str) -> object:
    """Return plain YAML as data. The text is untrusted, so tags and aliases are refused.

    Raises:
        StudyError: The text is not plain YAML.
    """
    try:
        found = yaml.load(text, _Plain)
        str(found)  # fails for an integer of thousands of digits, written as 0x…
        return found
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StudyError(
            "the configuration stored with the study cannot be read",
            hint="choose another study.name",
        ) from error


class _Plain(yaml.SafeLoader):  # type: ignore[misc]
    """A YAML loader without aliases: a few nested aliases could exhaust the memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


def _flat(node: object, path: str = "") -> dict[str, object]:
    if not isinstance(node, dict) or not node:
        return {path: node}
    return {
        below: value
        for key, child in node.items()
        for below, value in _flat(child, f"{path}.{key}" if path else str(key)).items()
    }
