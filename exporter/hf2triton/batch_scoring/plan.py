"""Records what a run scores, next to its shards. A later run continues only if it scores the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from hf2triton_client import Connection, TaskPipeline
from hf2triton_client.transport.served_model import ServedModel

from ..errors import ScoringError, UsageError
from ..repository.disk import locked
from .inputs import Input, Shard
from .options import ScoreOptions
from .shards import written

PLAN, LOCK = "plan.json", ".lock"
#: The version of the plan's format.
FORMAT = 1


@dataclass(frozen=True)
class ScoringPlan:
    """`about`: what a run must have in common with the run it continues, with the words used in messages as keys. `errors`:
    the number of failed rows, once the output is in place; None before that."""

    about: Mapping[str, Any]
    shards: tuple[Shard, ...]
    errors: int | None = None

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    def save(self, parts: Path) -> None:
        shards = [astuple(shard) for shard in self.shards]
        content = {"format": FORMAT, "about": self.about, "shards": shards, "errors": self.errors}
        with written(parts / PLAN) as file:
            file.write(json.dumps(content).encode())


def read_plan(parts: Path) -> ScoringPlan | None:
    """The plan of an interrupted run, or None if there is none. Raises ScoringError for a plan of another version."""
    path = parts / PLAN
    if not path.exists():
        return None
    content = json.loads(path.read_bytes())
    if content.get("format") != FORMAT:
        raise ScoringError(f"{path} was written by another version of hf2triton; --restart starts anew")
    return ScoringPlan(content["about"], tuple(Shard(*shard) for shard in content["shards"]), content["errors"])


def about(options: ScoreOptions, source: Input, model: Mapping[str, Any]) -> dict[str, Any]:
    """What a run scores, as values that JSON preserves."""
    said = {"the input": source.fingerprint, "the model": model, **options.matters}
    plain: dict[str, Any] = json.loads(json.dumps(said))
    return plain


def require_same(before: Mapping[str, Any], now: Mapping[str, Any], options: ScoreOptions) -> None:
    """Raises UsageError, which says what differs."""
    differs = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differs:
        told = [
            f"{name} (it was {before.get(name)!r}, and is {now.get(name)!r})"
            if name != "the input"
            else f"the input, which is not what it was: {options.input}"
            for name in differs
        ]
        raise UsageError(
            f"{options.parts} holds a run that was stopped, of something else: what differs is {'; '.join(told)}. Give the"
            " same again, another OUTPUT, or --restart, which throws away what is done"
        )


def identity(connection: Connection, pipeline: TaskPipeline) -> dict[str, Any]:
    """The model that answers: each of its frontends, with its served versions and the digest of its settings."""
    return {
        frontend.name: {
            "task": frontend.task,
            "versions": connection.served_versions(frontend.name),
            "digest": _digest(ServedModel.from_config(connection.model_config(frontend.name)).settings),
        }
        for frontend in pipeline.models.values()
    }


def require_model(expected: Mapping[str, Any], connection: Connection, pipeline: TaskPipeline) -> None:
    """Raises ScoringError if another version is served now."""
    if (now := identity(connection, pipeline)) != expected:
        raise ScoringError(f"the model was replaced while it was asked: it was {dict(expected)}, and is {now}")


@contextmanager
def alone(parts: Path) -> Iterator[None]:
    """Excludes other runs with the same OUTPUT. Creates the folder. Raises ScoringError if another run is active."""

    def refuse(_: str) -> None:
        raise ScoringError(f"another run is writing to {parts}; wait for it, or give another OUTPUT")

    with ExitStack() as stack:
        while True:
            parts.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(locked(parts, refuse))
                break
            except FileNotFoundError:  # another run that has just ended removed the folder
                continue
        yield


def clear(parts: Path, keep: Callable[[Path], bool] = lambda path: False) -> None:
    """Removes everything in the folder except the lock."""
    for path in sorted(parts.iterdir()):
        if path.name != LOCK and not keep(path):
            path.unlink()


def remove(parts: Path) -> None:
    """Removes the folder. The plan is removed last, because it says whether the output is in place."""
    clear(parts, lambda path: path.name == PLAN)
    clear(parts)
    (parts / LOCK).unlink()
    parts.rmdir()


def _digest(settings: Mapping[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()}"
