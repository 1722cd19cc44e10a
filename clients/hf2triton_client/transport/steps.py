"""What a call needs of a connection, step by step: generators ask for it, and `drive` or `drive_async` carries it out.

So what has to be done is written once, for both kinds of connections.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ..errors import ClientError
from .connection import Request

T = TypeVar("T")


class Step(Protocol):
    """One thing to be done with a Connection, or an AsyncConnection."""

    def run(self, connection: Any) -> Any: ...

    async def run_async(self, connection: Any) -> Any: ...


@dataclass(frozen=True)
class Infer:
    """Gives the answers to requests, in their order."""

    requests: Sequence[Request]

    def run(self, connection: Any) -> Any:
        return connection.infer_all(self.requests)

    async def run_async(self, connection: Any) -> Any:
        return await connection.infer_all(self.requests)


@dataclass(frozen=True)
class ReadConfig:
    """Gives the config of a version of a model, of the newest one for "", and None where the server has none."""

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
    """Takes steps over a Connection; gives what comes of them. A step's error is raised where the step was asked for."""
    take, given = steps.send, None
    while True:
        try:
            step = take(given)
        except StopIteration as done:
            return done.value
        try:
            take, given = steps.send, step.run(connection)
        except ClientError as error:
            take, given = steps.throw, error


async def drive_async(connection: Any, steps: Generator[Step, Any, T]) -> T:
    """`drive` over an AsyncConnection."""
    take, given = steps.send, None
    while True:
        try:
            step = take(given)
        except StopIteration as done:
            return done.value
        try:
            take, given = steps.send, await step.run_async(connection)
        except ClientError as error:
            take, given = steps.throw, error
