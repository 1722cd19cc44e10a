"""Keeps the modules that were directly in this package up to version 0.1 importable there, with a DeprecationWarning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_TRANSPORT = (
    "answering connection exchange forks generation link prompts retries runner served_model shared_memory slots steps"
    " streams target tls versions"
)
_EVALUATION = "baseline compare datasets metrics places questions rows scores suspects validate"
#: The old name of a module -> the modules of this package that hold its contents now.
MOVED: dict[str, tuple[str, ...]] = {
    **{name: (f"transport.{name}",) for name in _TRANSPORT.split()},
    **{name: (f"evaluation.{name}",) for name in _EVALUATION.split()},
    **{name: (f"pipelines.{name}",) for name in ("images", "labels", "postprocess")},
    "benchmark": ("evaluation.latency",),
    "load": ("loadgen.load", "loadgen.results"),
    "machine": ("report.machine",),
    "results": ("evaluation.results", "loadgen.results", "report.model"),
}


class _Alias(Loader):
    """Fills a module with the contents of the modules that replaced it."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        package, _, name = module.__name__.rpartition(".")
        warnings.warn(f"{module.__name__} is {package}.{MOVED[name][0]} now", DeprecationWarning, stacklevel=2)
        for place in MOVED[name]:
            names = vars(import_module(f"{package}.{place}"))
            vars(module).update({key: value for key, value in names.items() if not key.startswith("__")})


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        return ModuleSpec(fullname, _Alias()) if package == __package__ and name in MOVED else None


def keep_old_names() -> None:
    """Makes modules importable by their old names, after all other ways to find a module have failed."""
    sys.meta_path.append(_Finder())
