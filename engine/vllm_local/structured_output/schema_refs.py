"""`$ref`: where in a schema a reference points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from vllm_local.errors import InvalidRequestError

MAX_STEPS = 300_000
"""Look-ups while one schema is read; a small one may ask for as many as an attacker likes."""


class SchemaRefs:
    """Finds the targets of references inside one schema; nothing is fetched from anywhere."""

    def __init__(self, root: Mapping[str, Any], parameter: str) -> None:
        """Collects the names (`$id`, `$anchor`) that references may use.

        Args:
            root: The whole schema.
            parameter: Whose fault an error is.
        """
        self._root = root
        self._parameter = parameter
        self._steps = 0
        self._anchors: dict[str, tuple[str, Any]] = {"": ("$", root)}
        own_id = root.get("$id", root.get("id"))
        self._base = own_id.rstrip("#") if isinstance(own_id, str) else ""
        for path, node in _nodes("$", root):
            for anchor in (node.get("$anchor"), _fragment_id(node.get("$id", node.get("id")))):
                if isinstance(anchor, str):
                    self._anchors.setdefault(anchor, (path, node))

    def resolve(self, reference: object, path: str) -> tuple[str, Any]:
        """Returns path and schema of a reference's target.

        Args:
            reference: The value of `$ref`.
            path: Where it stands.

        Raises:
            InvalidRequestError: It points out of the schema, or nowhere.
        """
        if not isinstance(reference, str):
            raise self._error(path, "must be a text")
        base, _, fragment = reference.partition("#")
        if base and base != self._base:
            raise self._error(path, f"points to {base!r}: only places inside the schema (#/$defs/…) can be read")
        if not fragment.startswith("/"):
            if fragment not in self._anchors:
                raise self._error(path, f"points to {reference!r}, which is not in the schema")
            return self._anchors[fragment]
        where: str = "$"
        node: Any = self._root
        for part in fragment[1:].split("/"):
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(key)] if isinstance(node, list) else node[key]
            except (KeyError, IndexError, TypeError, ValueError):
                raise self._error(path, f"points to {reference!r}, which is not in the schema") from None
            where = f"{where}.{key}"
        return where, node

    def follow(self, node: Any) -> Any:
        """Returns what a schema that is nothing but a reference stands for, and any other schema as it is."""
        for _ in range(16):
            self.count_step()
            if not isinstance(node, Mapping) or "$ref" not in node or _has_assertions(node):
                return node
            node = self.resolve(node["$ref"], "$")[1]
        return node

    def count_step(self) -> None:
        """Takes note of a look-up.

        Raises:
            InvalidRequestError: There were too many.
        """
        self._steps += 1
        if self._steps > MAX_STEPS:
            message = "The schema has too many options that stand for one value; write it more plainly."
            raise InvalidRequestError(message, parameter=self._parameter)

    def _error(self, path: str, rule: str) -> InvalidRequestError:
        return InvalidRequestError(f"The schema's {path}.$ref {rule}.", parameter=self._parameter)


def _has_assertions(node: Mapping[str, Any]) -> bool:
    notes = {"$ref", "title", "description", "default", "examples", "$comment"}
    return any(key not in notes for key in node)


def _fragment_id(name: object) -> str | None:
    return name[1:] if isinstance(name, str) and name.startswith("#") and len(name) > 1 else None


def _nodes(path: str, root: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    pending: list[tuple[str, Any]] = [(path, root)]
    while pending:
        where, value = pending.pop()
        if isinstance(value, Mapping):
            yield where, value
            pending.extend((f"{where}.{key}", item) for key, item in value.items() if key not in {"const", "enum"})
        elif isinstance(value, list):
            pending.extend((f"{where}[{i}]", item) for i, item in enumerate(value))
