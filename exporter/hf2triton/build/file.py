"""The file that declares a whole repository: its entries, each with its source and options, and defaults for them.

The file is read with PyYAML and checked with pydantic. Errors name the line, the entry and the key, and for an unknown key the
nearest known key. Editors show the models' docstrings as descriptions (data/build.schema.json).
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, create_model

from ..checkpoint.source import PACKAGE
from ..core.layout import check_name
from ..core.options import ExportOptions, Kind, Option, Place, options_at
from ..core.sizes import read_bytes
from ..engines import ENGINES
from ..errors import UsageError
from ..graph.passes.release import find_release
from ..tasks import TASKS, find_task
from .yaml import load

#: The JSON Schema dialect of the schema.
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _text(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is read as a {type(value).__name__}: put it in quotes")


def _listed(value: Any) -> Any:
    """Labels as a list, also if they are given as a mapping from each number."""
    if isinstance(value, dict):
        if sorted(value, key=str) != sorted(range(len(value)), key=str):
            raise ValueError(f"the labels' numbers must be 0 to {len(value) - 1}, not {', '.join(map(str, value))}")
        value = [value[index] for index in range(len(value))]
    return value


def _checked(check: Any) -> BeforeValidator:
    """Runs one of our own checks, whose errors list the known values."""

    def validate(value: Any) -> Any:
        if value is not None:
            try:
                check(_text(value))
            except UsageError as error:
                raise ValueError(str(error)) from error
        return value

    return BeforeValidator(validate)


Text = Annotated[str, BeforeValidator(_text)]
Release = Annotated[str, _checked(find_release), WithJsonSchema({"type": "string", "pattern": r"^\d\d\.\d\d$"})]
_TASKS = [name for task in TASKS.values() for name in (task.name, *task.aliases)]
Size = Annotated[
    str, _checked(read_bytes), WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)? ?([KMGT]i?B)?$"})
]
TaskName = Annotated[str, _checked(find_task), WithJsonSchema({"type": "string", "enum": _TASKS})]
Labels = Annotated[
    list[Text],
    BeforeValidator(_listed),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string"}},
                {"type": "object", "patternProperties": {r"^\d+$": {"type": "string"}}, "additionalProperties": False},
            ]
        }
    ),
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class TaskTolerance(_Model):
    """How far an output may lie from PyTorch's, in place of the task's own."""

    max_abs: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Largest absolute difference."""
    mean_abs: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Mean absolute difference."""
    cosine: Annotated[float, Field(ge=0, le=1)] | None = None
    """Smallest cosine similarity of a row; null: not compared."""
    argmax: Annotated[float, Field(ge=0, le=1)] | None = None
    """Smallest share of rows whose largest entry is the same; null: not compared."""


#: Kind of an option's values -> what a file may contain. Paths are texts, relative to the file.
_TYPES: Mapping[Kind, Callable[[Option], Any]] = {
    **dict.fromkeys((Kind.TEXT, Kind.SOURCE, Kind.FILE, Kind.FILE_OR_FOLDER), lambda option: Text),
    Kind.TASK: lambda option: TaskName,
    Kind.RELEASE: lambda option: Release,
    Kind.CHOICE: lambda option: Literal[option.choices],
    Kind.DEVICE: lambda option: Literal[tuple(ENGINES)],
    Kind.NUMBER: lambda option: Annotated[int, Field(ge=option.least, le=option.most)],
    Kind.NUMBERS: lambda option: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)],
    Kind.SIZE: lambda option: Size,
    **dict.fromkeys((Kind.FLAG, Kind.YES_OR_NO), lambda option: bool),
    Kind.LABELS: lambda option: Labels,
    Kind.TOLERANCES: lambda option: dict[str, TaskTolerance],
}


def _fields(place: Place, but: Collection[str] = ()) -> dict[str, Any]:
    """A field for each option that is allowed at this place. None means the same as `hf2triton export` without the option."""
    made = {}
    for name, (option, default) in options_at(place).items():
        stated = option.default or (default if isinstance(default, str) else "")
        help = f"{option.help} Default: {stated}." if stated else option.help
        if name not in but:
            made[name] = (_TYPES[option.kind](option) | None, Field(None, description=help))
    return made


_SOURCE = "A folder relative to this file, a hub id, or package:NAME/FOLDER for weights that a Python package ships."
Defaults = create_model(
    "Defaults",
    __base__=_Model,
    __doc__="Options for all entries that say nothing else. null is what `hf2triton export` does without the option."
    " Paths are relative to this file.",
    **_fields(Place.DEFAULTS),
)
Entry = create_model(
    "Entry",
    __base__=Defaults,
    __doc__="One export.",
    source=(Text, Field(description=_SOURCE)),
    **_fields(Place.ENTRY, but=Defaults.model_fields),
)
_ENTRIES: Any = Annotated[
    GenericAlias(dict, (str, Entry)),
    Field(min_length=1, json_schema_extra={"propertyNames": {"pattern": "^[A-Za-z0-9][\\w.-]*$"}}),
]
BuildFile = create_model(
    "BuildFile",
    __base__=_Model,
    __doc__="A model repository, as `hf2triton build` makes it.",
    repository=(Text, Field("model_repository", description="Its folder, relative to this file.")),
    defaults=(Defaults, Field(Defaults(), description="Options for all entries that say nothing else.")),
    entries=(_ENTRIES, Field(description="The name that a model is served under -> what it is made of.")),
)


@dataclass(frozen=True)
class Declared:
    """What a file declares: the repository, and the export options of each entry, by its name."""

    path: Path
    repository: Path
    entries: Mapping[str, ExportOptions]


def read_build_file(path: Path, repository: Path | None = None) -> Declared:
    """What the file declares, for its own repository or another. Raises UsageError, which lists all errors."""
    try:
        content, line_of = load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"the build file {path} cannot be read: {error}") from error
    try:
        file: Any = BuildFile.model_validate({} if content is None else content)
    except ValidationError as error:
        problems = sorted((line_of(one["loc"]), _problem(one)) for one in error.errors())
        lines = (f"line {line}: {problem}" for line, problem in problems)
        raise UsageError("\n  ".join([f"{path} is not a valid build file", *lines])) from error
    for name in file.entries:
        try:
            check_name(name)
        except UsageError as error:
            raise UsageError(f"{path}, line {line_of(('entries', name))}: {error}") from error
    repository = repository or _from(path.parent, file.repository)
    return Declared(path, repository, {name: _options(file, name, path.parent, repository) for name in file.entries})


def build_schema() -> dict[str, Any]:
    """The JSON schema of build files, for editors."""
    return {"$schema": _DIALECT, **BuildFile.model_json_schema()}


def _options(file: Any, name: str, folder: Path, repository: Path) -> ExportOptions:
    given = file.defaults.model_dump(exclude_unset=True) | file.entries[name].model_dump(exclude_unset=True)
    source = _source(folder, given.pop("source"))
    known = options_at(Place.ENTRY)
    read = {
        key: _READ.get(known[key][0].kind, _as_it_is)(folder, value)
        for key, value in given.items()
        if value is not None
    }
    return ExportOptions(source, name, repository=repository, **read)


def _as_it_is(folder: Path, value: Any) -> Any:
    return value


def _source(folder: Path, given: str) -> str:
    """A folder relative to the file's folder, unless it is a hub id or in a package."""
    path = _from(folder, given)
    is_path = given.startswith((".", "/", "~")) or (not given.startswith(PACKAGE) and path.exists())
    return str(path) if is_path else given


def _from(folder: Path, given: str) -> Path:
    """A path relative to `folder`, made relative to the working directory if possible."""
    path = Path(os.path.normpath(folder.absolute() / Path(given).expanduser()))
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _problem(error: Mapping[str, Any]) -> str:
    """A pydantic error in our words: the place, the problem, and the known values."""
    *inside, key = error["loc"] or ("",)
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        known = list(_model_at(inside).model_fields)
        near = difflib.get_close_matches(str(key), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return f"{'.'.join(map(str, inside)) or 'the file'} has the unknown key {str(key)!r}: {hint}"
    if key == "[key]":
        return (
            f"{'.'.join(map(str, inside[:-1]))} has the name {error['input']!r}, which is not a text: put it in quotes"
        )
    if error["type"] == "missing":
        return f"{where} is missing"
    text = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if error["type"] in ("model_type", "dict_type"):
        return f"{where or 'the file'} must be a mapping of keys to values"
    if error["type"] == "value_error":
        return f"{where or 'the file'}: {text}"
    return f"{where or 'the file'}: {error['input']!r} {text}"


def _model_at(location: Sequence[Any]) -> type[_Model]:
    """The model of the mapping at a place in the file."""
    for pattern, model in _MODELS:
        if len(pattern) == len(location) and all(
            own in ("*", str(given)) for own, given in zip(pattern, location, strict=True)
        ):
            return model
    raise KeyError(location)


_MODELS: tuple[tuple[tuple[str, ...], type[_Model]], ...] = (
    ((), BuildFile),
    (("defaults",), Defaults),
    (("entries", "*"), Entry),
    (("entries", "*", "tolerances", "*"), TaskTolerance),
)
#: Kind of an option's values -> function that converts a value from a file in this folder.
_READ: Mapping[Kind, Callable[[Path, Any], Any]] = {
    Kind.SOURCE: lambda folder, given: given if given.startswith(PACKAGE) else str(_from(folder, given)),
    **dict.fromkeys((Kind.FILE, Kind.FILE_OR_FOLDER), _from),
    **dict.fromkeys((Kind.LABELS, Kind.NUMBERS), lambda folder, given: tuple(given)),
    Kind.SIZE: lambda folder, given: read_bytes(given),
}

if __name__ == "__main__":  # rewrites data/build.schema.json
    print(json.dumps(build_schema(), indent=2, ensure_ascii=False))
