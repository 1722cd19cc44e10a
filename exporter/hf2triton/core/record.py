"""JSON objects as frozen dataclasses: checked when they are read, and written back unchanged.

A record keeps the object that it was read from. Unknown keys keep their position, and a key that the object lacked is written
only if its value has changed. A file that is read and written back is therefore identical, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, kw_only=True)
class Record:
    """Base class of all records. A field with a default may be missing from the object."""

    _read: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_json(cls, content: object) -> Self:
        """The record of an object. Raises ValueError, which says what is wrong, for anything else."""
        if not isinstance(content, Mapping):
            raise ValueError(f"{content!r:.60} is not a JSON object")
        keys = _keys(cls)
        missing = [repr(name) for name, (_, required) in keys.items() if required and name not in content]
        if missing:
            raise ValueError(f"it has no {', '.join(missing)}")
        values = {name: _value(hint, content[name], name) for name, (hint, _) in keys.items() if name in content}
        return cls(_read=content, **values)

    def to_json(self) -> dict[str, Any]:
        """The object, for `json_bytes`."""
        before = self if self._read is None else self.from_json(self._read)
        content = dict(self._read or {})
        for name in _keys(type(self)):
            value = getattr(self, name)
            if self._read is None or name in self._read or value != getattr(before, name):
                content[name] = value.to_json() if isinstance(value, Record) else value
        return content


def _keys(cls: type[Record]) -> dict[str, tuple[Any, bool]]:
    """Key of a record -> its type, and whether it is required."""
    if cls not in _KEYS:
        hints = get_type_hints(cls)
        _KEYS[cls] = {
            one.name: (hints[one.name], one.default is MISSING and one.default_factory is MISSING)
            for one in fields(cls)
            if one.name != "_read"
        }
    return _KEYS[cls]


#: The cache of `_keys`: resolving types takes longer than reading a record.
_KEYS: dict[type[Record], dict[str, tuple[Any, bool]]] = {}


def _value(hint: Any, value: Any, name: str) -> Any:
    """The value, converted to the type of its key. Raises ValueError."""
    if get_origin(hint) in (Union, UnionType):
        if value is None and NoneType in get_args(hint):
            return None
        *others, last = (option for option in get_args(hint) if option is not NoneType)
        for option in others:
            with suppress(ValueError):
                return _value(option, value, name)
        return _value(last, value, name)
    if isinstance(hint, type) and issubclass(hint, Record):
        try:
            return hint.from_json(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    kind: Any = get_origin(hint) or hint
    within = get_args(hint)
    if not isinstance(value, kind) or (isinstance(value, bool | str) and kind not in (bool, str)):
        raise ValueError(f"{name} is {value!r:.60}")
    if within and within[-1] is not Any:
        contents: Any = value.values() if isinstance(value, Mapping) else value
        for one in contents:
            _value(within[-1], one, name)
    return value
