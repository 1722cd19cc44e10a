"""Reads YAML for files that people review: no duplicate keys, numbers such as 1e-3 are numbers, and each place has its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with two changes: a duplicate key is an error, and 1e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        first: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in first:
                    line = first[key.value].start_mark.line + 1
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is there twice, first in line {line}", key.start_mark
                    )
                first[key.value] = key
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load(text: str) -> tuple[Any, Callable[[Sequence[Any]], int]]:
    """The content, and a function that returns the line of a place in it, or of the nearest enclosing element. Raises
    yaml.YAMLError."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        content = None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()
    return content, lambda location: _line(root, location)


def _line(node: yaml.Node | None, location: Sequence[Any]) -> int:
    line = 1 if node is None else node.start_mark.line + 1
    for step in location:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(step)]
            if not found:
                break
            key, node = found[0]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            item: yaml.Node = node.value[step]
            node, line = item, item.start_mark.line + 1
        else:
            break
    return line
