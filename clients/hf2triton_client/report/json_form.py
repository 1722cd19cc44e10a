"""Reports as JSON: reads and writes the data of model.py, and makes the schema that describes it.

JSON has no NaN and no infinities: they are written as the strings "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ReportError
from .model import FORMAT, Report

#: The path of the schema within this package.
SCHEMA = "data/report.schema.json"
#: The strings for values that JSON numbers cannot express.
_WORDS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def to_json(report: Report) -> dict[str, Any]:
    """The report as JSON, with `passed` added to everything that has a verdict."""
    written: dict[str, Any] = _written(report)
    return written


def from_json(written: Mapping[str, Any]) -> Report:
    """The report that `to_json` wrote. Raises ReportError, whose message begins with the problem."""
    from pydantic import TypeAdapter, ValidationError

    try:
        report = TypeAdapter(Report).validate_python(written)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ReportError(f"is not a report of format {FORMAT}: {where}: {first['msg']}") from error
    _check(report)
    return report


def report_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of what `to_json` writes, made from the dataclasses. Needs pydantic."""
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        """Describes floats and properties as `to_json` writes them; it writes all fields."""

        def float_schema(self, schema: Any) -> dict[str, Any]:
            return {"anyOf": [{"type": "number"}, {"enum": list(_WORDS.values())}]}

        def field_is_required(self, *arguments: Any, **options: Any) -> bool:
            return True

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

        def dataclass_schema(self, schema: Any) -> dict[str, Any]:
            made = super().dataclass_schema(schema)
            made["description"] = inspect.getdoc(schema["cls"])  # some versions of pydantic leave it out
            if _has_verdict(schema["cls"]):
                # null: nothing was compared
                nullable = "None" in schema["cls"].passed.fget.__annotations__["return"]
                kind = ["boolean", "null"] if nullable else "boolean"
                made["properties"]["passed"] = {"type": kind, "readOnly": True}
                made["required"].append("passed")
            return made

    made = TypeAdapter(Report).json_schema(mode="serialization", schema_generator=Generator)
    made["properties"]["format"] = {"const": FORMAT}
    return {"$schema": GenerateJsonSchema.schema_dialect} | made


def _has_verdict(kind: type) -> bool:
    return isinstance(getattr(kind, "passed", None), property)


def _written(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        names = [one.name for one in dataclasses.fields(value)] + (["passed"] if _has_verdict(type(value)) else [])
        return {name: _written(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): _written(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_written(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return _WORDS[str(value)]
    return value


def _check(report: Report) -> None:
    """Checks what a schema cannot express: indices and lengths. Raises ReportError."""
    for benchmark in report.benchmarks:
        known = len(benchmark.contenders)
        for measurement in benchmark.measurements:
            if not 0 <= measurement.contender < known:
                raise ReportError(
                    f"has a measurement of contender {measurement.contender}, and only {known} contenders"
                )
    for validation in report.validations:
        for scatter in validation.scatters:
            if len(scatter.pytorch) != len(scatter.served):
                raise ReportError(
                    f"has {len(scatter.pytorch)} values of PyTorch for {len(scatter.served)} served ones"
                    f" ({validation.model}, {scatter.output})"
                )
