"""A running server: what it lets any caller do, and whether it serves what the repository has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message
from tritonclient.grpc import model_config_pb2 as pb

from ..core.layout import is_candidate
from .finding import ERROR, NOTE, WARNING, Problem, Rule
from .models import Lint, Model
from .server import OPEN, Seen

#: The flags that close an endpoint over gRPC and over HTTP, which are restricted separately.
_CLOSE = "--grpc-restricted-protocol={0}:KEY=VALUE and --http-restricted-api={0}:KEY=VALUE"


def control_open(lint: Lint, server: Seen) -> Iterator[Problem]:
    if server.endpoints["model control"] == OPEN:
        yield Problem(
            server.url,
            "anybody may load and unload models, which runs code: start it with --model-control-mode=none, or with"
            f" {_CLOSE.format('model-repository')}",
        )


def shared_memory_open(lint: Lint, server: Seen) -> Iterator[Problem]:
    close = _CLOSE.format("shared-memory")
    if server.endpoints["shared memory"] == OPEN:
        yield Problem(
            server.url,
            f"anybody may register shared memory, which is read and written as the server: start it with {close}",
        )
    elif server.endpoints["shared memory status"] == OPEN:
        yield Problem(
            server.url,
            f"anybody may list the regions of shared memory, though not add any: start it with {close}",
            WARNING,
        )


def settings_open(lint: Lint, server: Seen) -> Iterator[Problem]:
    for name in ("trace", "logging"):
        if server.endpoints[name] == OPEN:
            yield Problem(
                server.url, f"anybody may read and change the settings of {name}: start it with {_CLOSE.format(name)}"
            )


def plaintext(lint: Lint, server: Seen) -> Iterator[Problem]:
    if not server.tls and not server.on_loopback:
        yield Problem(
            server.url,
            "texts, images and answers travel in the clear: start it with --grpc-use-ssl=1, or behind a proxy that has TLS, and"
            " call it as grpcs://",
        )


def malformed(lint: Lint, server: Seen) -> Iterator[Problem]:
    """Triton 24.10's Python backend reads a batch's BYTES before any model sees them; no later release is known to be safer."""
    names = [model.name for model in lint.models if model.name in server.ready and _merges_bytes(model)]
    if names and not server.mutual_tls:
        yield Problem(
            server.url,
            "a caller can fail the requests of others: where a length within the BYTES of one request exceeds its data, the"
            " Python backend fails all that it is merged with, before a model sees any. Nothing in the server stands before that:"
            " let in only callers that you trust (--mutual-tls), or all of them through a gateway that decodes requests and"
            f" encodes them anew. Models: {_listed(names[:3])}{' …' * (len(names) > 3)}",
            more=tuple(names),
        )


def _merges_bytes(model: Model) -> bool:
    own = model.config
    merges = own.max_batch_size > 1 and own.HasField("dynamic_batching")
    return model.backend == "python" and merges and any(one.data_type == pb.TYPE_STRING for one in own.input)


def not_ready(lint: Lint, server: Seen) -> Iterator[Problem]:
    for model in lint.models:
        if model.name not in server.ready and model.versions:
            yield Problem(
                model.name,
                f"it is not ready at {server.url}: its log says why it was not loaded, or unload and load it",
            )


def not_here(lint: Lint, server: Seen) -> Iterator[Problem]:
    for name in sorted(set(server.ready) - set(lint.every)):
        if not is_candidate(name):
            yield Problem(
                name,
                f"{server.url} serves it, and the repository has no such model: unload it, or is it another server?",
            )


def other_version(lint: Lint, server: Seen) -> Iterator[Problem]:
    for model in lint.models:
        ready = server.ready.get(model.name, ())
        if ready and model.parsed[1] is None and set(model.loaded) - set(ready):
            yield Problem(
                model.name,
                f"{server.url} has loaded {_listed(ready)}, the config wants {_listed(model.loaded)}: hf2triton publish or"
                " rollback with --load tells the server",
            )


def other_config(lint: Lint, server: Seen) -> Iterator[Problem]:
    for model in lint.models:
        served = server.configs.get(model.name)
        if served is None or model.text is None or model.parsed[1] is not None:
            continue
        found = list(differences(model.config, served))
        if found:
            yield Problem(
                model.name,
                f"{server.url} serves it with another config: {'; '.join(found[:3])}{' …' * (len(found) > 3)}. Load it again, or"
                " was it loaded with a config of its own?",
                more=tuple(found),
            )


def _listed(numbers: Any) -> str:
    return ", ".join(map(str, numbers)) or "none"


def differences(own: Message, served: Message, path: str = "") -> Iterator[str]:
    """Where the served config differs from a config. The server may fill in what the config omits."""
    for descriptor, value in own.ListFields():
        name, other = f"{path}{descriptor.name}", getattr(served, descriptor.name)
        if descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry:
            for key in sorted(set(value) | set(other)):
                if (key in value) != (key in other):
                    yield f"{name}[{key}] is {'missing' if key in value else 'new'} there"
                else:
                    yield from _value_differs(value[key], other[key], f"{name}[{key}]")
        elif hasattr(value, "__len__") and not isinstance(value, str | bytes):
            if len(value) != len(other):
                yield f"{name} has {len(other)} entries there, {len(value)} here"
            else:
                for index, pair in enumerate(zip(value, other, strict=True)):
                    yield from _value_differs(*pair, f"{name}[{index}]")
        else:
            yield from _value_differs(value, other, name)


def _value_differs(own: Any, served: Any, name: str) -> Iterator[str]:
    if isinstance(own, Message):
        yield from differences(own, served, f"{name}.")
    elif own != served:
        yield f"{name} is {str(served)[:60]!r} there, {str(own)[:60]!r} here"


RULES = (
    Rule("server-control", ERROR, "server", "a server that lets anybody load and unload models", control_open),
    Rule(
        "server-shared-memory", ERROR, "server", "a server that lets anybody register shared memory", shared_memory_open
    ),
    Rule(
        "server-settings",
        WARNING,
        "server",
        "a server that lets anybody change the settings of trace and logging",
        settings_open,
    ),
    Rule("server-plaintext", WARNING, "server", "a server that is called without TLS from other machines", plaintext),
    Rule(
        "server-malformed",
        NOTE,
        "server",
        "a server where a caller without a certificate can fail the requests of others",
        malformed,
    ),
    Rule("server-not-ready", ERROR, "server", "a model of the repository that is not ready", not_ready),
    Rule("server-unknown-model", WARNING, "server", "a model that is served and not in the repository", not_here),
    Rule(
        "server-version",
        ERROR,
        "server",
        "a model whose versions that are loaded are not those of the config",
        other_version,
    ),
    Rule("server-config", WARNING, "server", "a model that is served with another config", other_config),
)
