"""Carries a call of a pipeline out while the model may be replaced, or two servers behind one name serve different versions."""

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

#: Seconds before each further try. The frontends of a pair are replaced one after the other, some seconds apart.
_PAUSES = (0.0, 0.0, 0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.4, 2.4)
#: Tries without one answer of the version that was chosen, after which another one is.
_FRUITLESS = 3
#: How often requests may be refused for their shape though nothing has changed: of two servers each may want another one.
_REFUSALS = 8


@dataclass(frozen=True)
class _AskedPart:
    """Some items of one of a call's questions, as one request has them."""

    ask: int
    start: int
    stop: int


@dataclass(frozen=True)
class _Answered:
    """`alike`: the same for parts whose rows can be compared."""

    part: _AskedPart
    alike: Hashable
    version: int


def answer(call: Call) -> Steps[Any]:
    """The result of a call, and of those that it leads to."""
    result: Any = call
    while isinstance(result, Call):
        rows = yield from _rows(result)
        result = result.finish(*rows)
    return result


def _rows(call: Call) -> Steps[list[list[Row]]]:
    """The rows of each question, with the settings of the version that gave them."""
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
    """The answer to each request, or the error where it does not fit what is served. `apart`: one after the other, so that one
    that is refused takes no other with it."""
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
    """The requests for a part, each with its own part and the version it is made for. `common`: such that all known versions
    take them."""
    made_for = ask.versions.newest
    shape = ask.versions.common if common else made_for
    inputs = {name: values[part.start : part.stop] for name, values in ask.inputs_of(made_for).items()}
    for request in shape.requests(inputs, ask.outputs, ask.batch_size):
        start = part.start + request.first
        stop = start + request.message.inputs[0].shape[0]
        yield _AskedPart(part.ask, start, stop), replace(request, first=start), made_for


def _may_fit(call: Call, refused: int) -> Steps[bool]:
    """Whether requests that were refused for their shape may be taken when they are asked again. `refused`: how often that was
    so."""
    all_versions = {id(ask.versions): ask.versions for ask in call.asks}.values()
    changed = False
    for versions in all_versions:
        changed |= yield from versions.changed()
    return changed or (refused < _REFUSALS and any(versions.several for versions in all_versions))


class _Choice:
    """Which of the versions that answer a call in turn is taken: that of most items, as long as it goes on answering."""

    def __init__(self) -> None:
        self._alike: Hashable = None
        self._fruitless = 0

    def of(self, fresh: list[_Answered]) -> Hashable:
        """`fresh`: the answers since the last time."""
        if any(one.alike == self._alike for one in fresh):
            self._fruitless = 0
        elif fresh:
            self._fruitless += 1
            if self._alike is None or self._fruitless >= _FRUITLESS:
                self._alike, self._fruitless = _most(fresh), 0
        return self._alike


def _most(answers: list[_Answered]) -> Hashable:
    """What most items have in common, and of several such the highest version."""
    items: Counter[Hashable] = Counter()
    versions: dict[Hashable, int] = {}
    for one in answers:
        items[one.alike] += one.part.stop - one.part.start
        versions[one.alike] = max(one.version, versions.get(one.alike, 0))
    return max(items, key=lambda alike: (items[alike], versions[alike]))


def fitting(prompt: Prompt, stamp: Stamp, misses: int) -> Steps[Prompt | None]:
    """The prompt that is to be sent in place of one that was answered; None where the version that answered was asked as it is to
    be asked. `misses`: answers before this one that were not. Raises ServerError after too many."""
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
    # each settings are tried twice: where there are two servers, the second try goes to the other one
    return prompt.made_for(model) if model is not None and misses % 2 == 0 else prompt


def refitted(prompt: Prompt, error: ClientError, refusals: int) -> Steps[bool]:
    """Whether a prompt that was refused may be taken when it is sent again, as another version is served."""
    if prompt.versions is None or error.reason is not Reason.DOES_NOT_FIT:
        return False
    return (yield from prompt.versions.changed()) or (prompt.versions.several and refusals < _REFUSALS)
