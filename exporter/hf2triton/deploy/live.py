"""Controls a Triton that serves a repository while the repository changes: tells it what to load and asks for PyTorch's answers.

Triton's control API must be on (`--model-control-mode=explicit`, as in the embedded Triton).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton_client import Connection
from hf2triton_client.error_rows import Reason
from hf2triton_client.errors import AccessDenied, ClientError, ConnectionFailed
from hf2triton_client.evaluation.baseline import Baseline
from hf2triton_client.evaluation.validate import validate

from ..core.control import CONTROL_KEY, CONTROL_KEY_FILE, control_headers
from ..errors import ControlRefused, ParityError, ServingError

#: The seconds a model may take to finish its requests.
UNLOAD_SECONDS = 60

_SERVES_IT = ". The server must serve this repository and be told what to load (--model-control-mode=explicit)"
#: Reason of a server's error -> advice. All other errors are the model's fault, and the server's message explains them.
_ADVICE = {
    Reason.NOT_EXPLICIT: _SERVES_IT,
    Reason.NOT_IN_REPOSITORY: _SERVES_IT,
    Reason.RESTRICTED: "; --header NAME=VALUE sends it",
}


@dataclass(frozen=True)
class Live:
    """Control of a server over a connection, which may send headers that permit it."""

    connection: Connection

    def load(self, name: str, config: str | None = None, versions: Collection[int | None] = ()) -> None:
        """Makes the server read a model again. `versions`: those to load, whatever `config` (the text of a config.pbtxt) says.
        Raises ServingError, or ControlRefused if a key is missing."""
        changed = None
        if config is not None:
            parsed = text_format.Parse(config, pb.ModelConfig())
            parsed.version_policy.specific.versions[:] = sorted(one for one in versions if one is not None)
            changed = json_format.MessageToJson(parsed, preserving_proto_field_name=True)
        with self._errors_named(name, "loaded"):
            self.connection.load_model(name, changed)

    def unload(self, name: str) -> None:
        """Makes the server unload a model, and waits until it is gone. Raises ServingError."""
        with self._errors_named(name, "unloaded"):
            self.connection.unload_model(name)
        until = time.monotonic() + UNLOAD_SECONDS
        while self.has(name):
            if time.monotonic() > until:
                raise ServingError(f"{name} is still there {UNLOAD_SECONDS} s after it was unloaded")
            time.sleep(0.02)

    def has(self, name: str) -> bool:
        """Whether the server has a model."""
        return self.connection.find_config(name) is not None

    def version_of(self, frontend: str) -> int | None:
        """The version that the server serves; None if it does not have the model."""
        config = self.connection.find_config(frontend)
        if config is None:
            return None
        versions = config.get("version_policy", {}).get("specific", {}).get("versions", [])
        return int(versions[0]) if versions else None

    def ask(self, frontend: str, baseline: Baseline) -> None:
        """Asks for PyTorch's recorded answers, each in several ways. Raises ParityError if the model's answers differ, and the
        client's errors."""
        found = validate(self.connection, frontend, baseline)
        if found.passed:
            return
        breaches = [
            f"{check.name}: {difference.output}: {'; '.join(difference.breaches)}"
            for check in found.checks
            for difference in check.differences
            if not difference.passed
        ]
        breaches += [
            f"{score.name} is {score.served:.4f}, PyTorch's {score.pytorch}"
            for score in found.scores
            if score.passed is False
        ]
        raise ParityError(f"{frontend} does not give PyTorch's answers: {breaches[0]} ({len(breaches)} such)")

    @contextmanager
    def _errors_named(self, name: str, what: str) -> Iterator[None]:
        try:
            yield
        except ConnectionFailed:
            raise
        except AccessDenied as error:
            if error.about.get("header") in control_headers(""):
                raise ControlRefused(
                    f"the server at {self.connection.target.url} wants its control key: put it in {CONTROL_KEY}, or name its"
                    f" file in {CONTROL_KEY_FILE}"
                ) from error
            raise ControlRefused(f"{name} was not {what}: {error}{_advice(error)}") from error
        except ClientError as error:
            raise ServingError(f"{name} was not {what}: {error}{_advice(error)}") from error


def _advice(error: ClientError) -> str:
    return "" if error.reason is None else _ADVICE.get(error.reason, "")
