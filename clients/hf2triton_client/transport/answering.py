"""Carries out a pipeline's call. Handles a model that is replaced meanwhile, and two servers behind one name with different
versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..error_rows import Reason
from ..errors import ClientError, InputError, ServerError
from .calls import Ask, Call
from .connection import Request
from .generation import Prompt
from .served_model import Row, ServedModel, Stamp, stamp_of
from .steps import Infer, Wait
from .versions import Steps

#: Seconds before each further try. The two frontends of an entry are replaced one after the other, some seconds apart.
_PAUSES = (0.0, 0.0, 0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.4, 2.4)
#: After this many tries without an answer from the chosen version, another version is chosen.
_FRUITLESS = 3
#: How often requests may be refused for their shape although nothing has changed: two servers may expect different shapes.
_REFUSALS = 8


@dataclass(frozen=True)
class _AskedPart:
    """The items of a question that go into one request."""

    ask: int
    start: int
    stop: int


@dataclass(frozen=True)
class _Answered:
    """An answered part. `alike` is equal for parts whose rows can be compared."""

    part: _AskedPart
    alike: Hashable
    version: int


def answer(call: Call) -> Steps[Any]:
    """Returns the result of a call and of the calls it leads to."""
    result: Any = call
    while isinstance(result, Call):
        rows = yield from _rows(result)
        result = result.finish(*rows)
    return result


def _rows(call: Call) -> Steps[list[list[Row]]]:
    """Returns the rows of each question, read with the settings of the version that answered."""
    rows: list[list[Row]] = [[{}] * len(ask) for ask in call.asks]
    todo = [_AskedPart(number, 0, len(ask)) for number, ask in enumerate(call.asks)]
    kept: list[_Answered] = []
    choice, refused, seen = _Choice(), 0, set()
    for pause in (0.0, *_PAUSES):
        if pause:
            yield Wait(pause)
        asked = [one for part in todo for one in _requests(call.asks[part.ask], part, common=refused > 0)]
        results = yield from _results([request for _, request, _ in asked], apart=refused > 0)
        if refusal := next((one for one in results if isinstance(one, InputError)), None):
            refused += 1
            if not (yield from _may_fit(call, refused)):
                raise refusal
        todo, fresh = [], []
        for (part, _, made_for), result in zip(asked, results, strict=True):
            if isinstance(result, InputError):
                todo.append(part)
                continue
            ask, stamp = call.asks[part.ask], stamp_of(result)
            model = yield from ask.versions.of(stamp)
            seen.add(stamp.version)
            if model is None or not ask.same_for(model, made_for):
                todo.append(part)
                continue
            rows[part.ask][part.start : part.stop] = model.rows(result, ask.outputs)
            fresh.append(_Answered(part, model.embeds_as(stamp.version), stamp.version))
        kept += fresh
        if call.one_version and kept:
            alike = choice.of(fresh)
            todo += [one.part for one in kept if one.alike != alike]
            kept = [one for one in kept if one.alike == alike]
        if not todo:
            return rows
    names = " and ".join(repr(name) for name in dict.fromkeys(ask.versions.name for ask in call.asks))
    raise ServerError(
        f"the servers answer with versions {sorted(seen)} of {names}, and what several versions say cannot be put together: are"
        " all servers and frontends of the same version?"
    )


def _results(requests: list[Request], apart: bool) -> Steps[list[Any]]:
    """Returns the answer to each request, or its error if the request does not fit the served model. `apart`: send the
    requests one by one, so a refused request does not fail the others."""
    results: list[Any] = []
    for group in [[one] for one in requests] if apart else [requests]:
        try:
            results += yield Infer(group)
        except InputError as error:
            if error.reason is not Reason.DOES_NOT_FIT:
                raise
            results += [error] * len(group)
    return results


def _requests(ask: Ask, part: _AskedPart, common: bool) -> Iterator[tuple[_AskedPart, Request, ServedModel]]:
    """The requests for a part, each with the items it holds and the version it is made for. `common`: requests that all known
    versions accept."""
    made_for = ask.versions.newest
    shape = ask.versions.common if common else made_for
    inputs = {name: values[part.start : part.stop] for name, values in ask.inputs_of(made_for).items()}
    for request in shape.requests(inputs, ask.outputs, ask.batch_size):
        start = part.start + request.first
        stop = start + request.message.inputs[0].shape[0]
        yield _AskedPart(part.ask, start, stop), replace(request, first=start), made_for


def _may_fit(call: Call, refused: int) -> Steps[bool]:
    """Whether requests that were refused for their shape may be accepted on another try. `refused`: how often they were
    refused."""
    all_versions = {id(ask.versions): ask.versions for ask in call.asks}.values()
    changed = False
    for versions in all_versions:
        changed |= yield from versions.changed()
    return changed or (refused < _REFUSALS and any(versions.several for versions in all_versions))


class _Choice:
    """Chooses a version when several answer the same call: the version with the most items, as long as it keeps answering."""

    def __init__(self) -> None:
        self._alike: Hashable = None
        self._fruitless = 0

    def of(self, fresh: list[_Answered]) -> Hashable:
        """`fresh`: the answers since the last call."""
        if any(one.alike == self._alike for one in fresh):
            self._fruitless = 0
        elif fresh:
            self._fruitless += 1
            if self._alike is None or self._fruitless >= _FRUITLESS:
                self._alike, self._fruitless = _most(fresh), 0
        return self._alike


def _most(answers: list[_Answered]) -> Hashable:
    """Returns the `alike` with the most items; on a tie, the one with the highest version."""
    items: Counter[Hashable] = Counter()
    versions: dict[Hashable, int] = {}
    for one in answers:
        items[one.alike] += one.part.stop - one.part.start
        versions[one.alike] = max(one.version, versions.get(one.alike, 0))
    return max(items, key=lambda alike: (items[alike], versions[alike]))


def fitting(prompt: Prompt, stamp: Stamp, misses: int) -> Steps[Prompt | None]:
    """Returns the prompt to send in place of an answered one, or None if the prompt was made for the version that answered.
    `misses`: how many earlier answers came from another version. Raises ServerError after too many."""
    if prompt.versions is None:
        return None
    model = yield from prompt.versions.of(stamp)
    if model is not None and prompt.settings == prompt.made_for(model).settings:
        return None
    if misses >= len(_PAUSES):
        raise ServerError(
            f"the servers answer with several versions of {prompt.model!r} in turn, which take other settings: are all servers of"
            " the same version?"
        )
    # try the same settings twice: with two servers, the second try goes to the other one
    return prompt.made_for(model) if model is not None and misses % 2 == 0 else prompt


def refitted(prompt: Prompt, error: ClientError, refusals: int) -> Steps[Prompt | None]:
    """Returns the prompt to send in place of a refused one, or None if no other version may accept it."""
    versions = prompt.versions
    if versions is None or error.reason is not Reason.DOES_NOT_FIT:
        return None
    if (yield from versions.changed()) or (versions.several and refusals < _REFUSALS):
        return prompt.made_for(versions.newest)
    return None
