"""The parameters of a request: a JSON object, checked name by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

#: The most characters of a request's parameters: parsed JSON can take a hundred times its length in memory.
MAX_PARAMETERS_LENGTH = 1 << 17

#: The condition on a parameter, in words and as a function.
Check = tuple[str, Callable[[Any], bool]]


def parse_parameters(text: str, checks: Mapping[str, Check]) -> dict[str, Any]:
    """Returns the parameters in a JSON object, without nulls, which keep their defaults. Raises ValueError."""
    if len(text) > MAX_PARAMETERS_LENGTH:
        raise ValueError(f"the parameters have {len(text):,} characters; at most {MAX_PARAMETERS_LENGTH:,} are taken")
    try:
        given = json.loads(text)
        if "\\u" in text:
            json.dumps(given, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise ValueError(f"the parameters have {half}, half of a surrogate pair, which is not a character") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the parameters are not JSON: {error}") from None
    if not isinstance(given, dict):
        raise ValueError(f"the parameters must be a JSON object, not {text[:80]}")
    unknown = sorted(given.keys() - checks.keys())
    if unknown:
        raise ValueError(f"unknown parameters {', '.join(unknown)[:200]}; known are {', '.join(checks)}")
    return check_parameters(given, checks)


def check_parameters(given: Mapping[str, Any], checks: Mapping[str, Check]) -> dict[str, Any]:
    """Returns the parameters that are not null. Raises ValueError for a bad value."""
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        expected, holds = checks[name]
        if not holds(value):
            raise ValueError(f"{name} must be {expected}, not {_shown(value)}")
    return given


def _shown(value: Any) -> str:
    try:
        return json.dumps(value)[:80]
    except RecursionError:
        return "a value that is nested so deeply"


def integer(least: int, most: int | None = None) -> Check:
    """An integer of at least `least`, and at most `most` if given."""
    text = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
    # type(), because True is an int
    return text, lambda value: type(value) is int and value >= least and (most is None or value <= most)


def number(least: float, most: float) -> Check:
    """An integer or a fraction; NaN, which Python's JSON allows, is in no range."""
    return f"a number from {least} to {most}", lambda value: type(value) in (int, float) and least <= value <= most


def texts(count: int, length: int) -> Check:
    """A text or a list of up to `count` texts, none of them empty or longer than `length` characters."""

    def holds(value: Any) -> bool:
        given = [value] if isinstance(value, str) else value
        return (
            isinstance(given, list)
            and len(given) <= count
            and all(isinstance(text, str) and 1 <= len(text) <= length for text in given)
        )

    return f"a text or a list of up to {count} texts, each of 1 to {length} characters", holds


#: True or false.
FLAG: Check = ("true or false", lambda value: isinstance(value, bool))
