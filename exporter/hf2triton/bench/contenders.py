"""The table of contenders: the name of each, what it needs, and the class that a child process opens for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from ..errors import UnknownName
from .contender import ContenderRunner
from .job import BenchJob


@dataclass(frozen=True)
class ContenderKind:
    """A kind of contender. `name`: its name in reports. `needs`: "source" (the checkpoint; measured once, however many entries
    it was exported to), "graph" (the entry's file) or "server". `encoder` and `decoder`: module and class for models that
    answer at once and for models that generate; None if the contender does not apply, for the reason `because`. `on_request`:
    measured only on request.
    """

    key: str
    name: str
    needs: str
    encoder: str
    decoder: str | None
    because: str = ""
    on_request: bool = False

    def opener(self, generates: bool) -> Callable[[BenchJob], ContenderRunner]:
        """The class. It is imported only now, because most contenders need libraries that the others do not."""
        module, _, name = ((self.decoder or "") if generates else self.encoder).partition(":")
        opener: Callable[[BenchJob], ContenderRunner] = getattr(import_module(f"{__package__}.{module}"), name)
        return opener


CONTENDERS = {
    kind.key: kind
    for kind in (
        ContenderKind("pytorch", "PyTorch", "source", "pytorch:PyTorch", "pytorch:GeneratingPyTorch"),
        ContenderKind(
            "compile",
            "torch.compile",
            "source",
            "pytorch:CompiledPyTorch",
            "pytorch:CompiledGeneratingPyTorch",
            on_request=True,
        ),
        ContenderKind("onnxruntime", "ONNX Runtime", "graph", "graphs:OnnxRuntime", "graphs:GeneratingOnnxRuntime"),
        ContenderKind("grpc", "Triton, gRPC", "server", "served:Grpc", "served:Streams"),
        ContenderKind(
            "shared-memory",
            "Triton, shared memory",
            "server",
            "served:SharedMemory",
            None,
            because="texts are answered on streams, which carry no shared memory",
        ),
    )
}


def contenders_of(keys: tuple[str, ...], compiled: bool) -> tuple[ContenderKind, ...]:
    """The contenders with these keys, or all that are not only measured on request. `compiled` adds torch.compile. Raises
    UnknownName."""
    for key in keys:
        if key not in CONTENDERS:
            raise UnknownName("contender", key, CONTENDERS)
    chosen = set(keys) or {kind.key for kind in CONTENDERS.values() if not kind.on_request}
    return tuple(kind for kind in CONTENDERS.values() if kind.key in chosen or (compiled and kind.key == "compile"))
