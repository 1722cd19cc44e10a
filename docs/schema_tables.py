"""A JSON schema as tables: one for each object in it, with its keys, their types and meanings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from hf2triton.cli.schema import SCHEMAS


def of(name: str) -> str:
    """The tables of the schema that `hf2triton schema NAME` prints, the document itself first."""
    package, place = SCHEMAS[name]
    schema = json.loads(files(package).joinpath(place).read_text(encoding="utf-8"))
    objects = {schema.get("title", "The file"): schema, **schema.get("$defs", {})}
    return "\n\n".join(_section(title, own) for title, own in objects.items() if "properties" in own)


def _section(title: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    lines = [f"## {title}", "", schema.get("description", ""), "", "| Key | Type | Meaning |", "| --- | --- | --- |"]
    for key, own in schema["properties"].items():
        meaning = " ".join(own.get("description", "").split())
        cells = [f"`{key}`{' (required)' if key in required else ''}", _type(own), meaning.replace("|", "&#124;")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _type(schema: Mapping[str, Any]) -> str:
    """The type of a value, in words; objects of other tables as links to them."""
    if "$ref" in schema:
        title = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{title}](#{title.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(own) for own in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        if "prefixItems" in schema:
            return f"list of {', '.join(_type(own) for own in schema['prefixItems'])}"
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"object of {_type(values)}" if isinstance(values, Mapping) and values else "object"
    bounds = [f"{sign} {schema[name]}" for name, sign in _BOUNDS.items() if name in schema]
    return f"{kind} {' and '.join(bounds)}".strip()


_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
