"""The steps of a call. Generators yield what they need from a connection; `drive` or `drive_async` carries it out.

This way, the logic of a call is written once for both kinds of connections.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ..errors import ClientError
from .connection import Request

T = TypeVar("T")


class Step(Protocol):
    """One thing to do with a Connection or an AsyncConnection."""

    def run(self, connection: Any) -> Any: ...

    async def run_async(self, connection: Any) -> Any: ...


@dataclass(frozen=True)
class Infer:
    """Returns the answers to requests, in order."""

    requests: Sequence[Request]

    def run(self, connection: Any) -> Any:
        return connection.infer_all(self.requests)

    async def run_async(self, connection: Any) -> Any:
        return await connection.infer_all(self.requests)


@dataclass(frozen=True)
class ReadConfig:
    """Returns the config of a version of a model ("" for the newest), or None if the server has none."""

    name: str
    version: str = ""

    def run(self, connection: Any) -> Any:
        return connection.find_config(self.name, self.version)

    async def run_async(self, connection: Any) -> Any:
        return await connection.find_config(self.name, self.version)


@dataclass(frozen=True)
class Wait:
    seconds: float

    def run(self, connection: Any) -> None:
        time.sleep(self.seconds)

    async def run_async(self, connection: Any) -> None:
        await asyncio.sleep(self.seconds)


def drive(connection: Any, steps: Generator[Step, Any, T]) -> T:
    """Carries out steps over a Connection and returns their result. A step's error is raised where the step was yielded."""
    take: Callable[[Any], Step] = steps.send
    given: Any = None
    while True:
        try:
            step = take(given)
        except StopIteration as done:
            result: T = done.value
            return result
        try:
            take, given = steps.send, step.run(connection)
        except ClientError as error:
            take, given = steps.throw, error


async def drive_async(connection: Any, steps: Generator[Step, Any, T]) -> T:
    """`drive` over an AsyncConnection."""
    take: Callable[[Any], Step] = steps.send
    given: Any = None
    while True:
        try:
            step = take(given)
        except StopIteration as done:
            result: T = done.value
            return result
        try:
            take, given = steps.send, await step.run_async(connection)
        except ClientError as error:
            take, given = steps.throw, error
