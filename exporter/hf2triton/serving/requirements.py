"""Checks what the embedded server needs from this machine before it starts."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import socket
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..core.layout import CONFIG
from ..engines.common.devices import devices
from ..errors import ServingError, UsageError

PYTHONS = ((3, 10), (3, 13))
GLIBC = (2, 35)
#: In a config.pbtxt: marks a model that runs on a GPU.
_GPU_KIND = re.compile(r"^[^#]*\bKIND_GPU\b", re.MULTILINE)
#: What to install on Python 3.13, where pip cannot install it as a dependency; pyproject.toml says why.
_ON_313 = "pip install --no-deps nvidia-pytriton==0.7.0 numpy==1.26.4, which compiles numpy: have a C and C++ compiler"
_MODULES = {"onnxruntime": "serve", "tokenizers": "serve", "psutil": "serve"}


@dataclass(frozen=True)
class Installation:
    """The parts of the wheel `nvidia-pytriton` that are used, and the folder of the interpreter's library."""

    tritonserver: Path
    libraries: Path
    python_backend: Path
    stub: Path
    caches: Path
    libpython_folder: Path


def check_requirements() -> Installation:
    """Finds the server's parts. Raises ServingError, which lists everything that is missing."""
    problems = [*_platform(), *_packages()]
    found = _find_installation(problems)
    if problems or found is None:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise ServingError(f"the embedded Triton cannot run here:{listed}")
    return found


def check_ports(hosts: Mapping[str, str], asked: Mapping[str, int]) -> None:
    """Checks that the given ports are free where each protocol listens. Raises UsageError for a port given twice, and
    ServingError, which names the ports in use."""
    taken: list[str] = []
    given: dict[tuple[str, int], str] = {}
    for name, port in asked.items():
        if port == 0:
            continue
        if other := given.get((hosts[name], port)):
            raise UsageError(
                f"--{other}-port and --{name}-port are both {port}: give each its own, or 0 for any free one"
            )
        given[hosts[name], port] = name
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((hosts[name], port))
            except OSError as error:
                taken.append(f"on {hosts[name]}: --{name}-port {port} ({error.strerror})")
    if taken:
        raise ServingError(f"cannot listen {', '.join(taken)}; choose others, or 0 for any free port")


def without_gpu(repository: Path, models: Iterable[str]) -> list[str]:
    """The models that need a GPU, if there is none."""
    if "cuda" in devices():
        return []
    configs = {name: repository / name / CONFIG for name in models}
    texts = {name: path.read_text("utf-8", "replace") for name, path in configs.items() if path.exists()}
    return [name for name, text in texts.items() if _GPU_KIND.search(text)]


def check_gpus(repository: Path, wanting: Iterable[str]) -> None:
    """Raises ServingError, which names the models that need a GPU, if there are any."""
    if names := ", ".join(wanting):
        raise ServingError(
            f"{names} of {repository} want a GPU, and there is none here: serve a repository without them, or export"
            " them with --device cpu"
        )


def _platform() -> list[str]:
    problems = []
    if sys.platform != "linux" or platform.machine() != "x86_64":
        problems.append(f"Linux on x86_64; this is {sys.platform} on {platform.machine()}")
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        problems.append(f"Python 3.10 to 3.13; this is {platform.python_version()}")
    library, version = platform.libc_ver()
    parts = tuple(int(part) for part in version.split(".")[:2] if version)
    if library != "glibc" or parts < GLIBC:
        problems.append(f"glibc {GLIBC[0]}.{GLIBC[1]} or newer; this is {library or 'another C library'} {version}")
    if shutil.which("bash") is None:
        problems.append("bash on the PATH, with which Triton starts its Python models")
    return problems


def _packages() -> list[str]:
    problems = []
    for module, extra in _MODULES.items():
        if importlib.util.find_spec(module) is None:
            problems.append(f"the package {module}: pip install 'hf2triton[{extra}]'")
    numpy = metadata.version("numpy")
    if int(numpy.split(".")[0]) >= 2:
        problems.append(
            f"numpy below 2; this is {numpy}, with which the server returns empty tensors: {_install('numpy<2')}"
        )
    return problems


def _install(what: str) -> str:
    """The command that installs the server or the numpy that it needs."""
    return _ON_313 if sys.version_info >= (3, 13) else f"pip install '{what}'"


def free_ports(hosts: Mapping[str, str], asked: Mapping[str, int]) -> dict[str, int]:
    """Returns the given ports, with each 0 replaced by a free port. `hosts`: where each protocol listens."""
    ports, probes = dict(asked), []
    try:
        for name, port in asked.items():
            if port == 0:
                probe = socket.socket()
                probes.append(probe)
                probe.bind((hosts[name], 0))
                ports[name] = probe.getsockname()[1]
    finally:
        for probe in probes:
            probe.close()
    return ports


def _find_installation(problems: list[str]) -> Installation | None:
    """The server's parts; adds what is missing to `problems`."""
    libpython = _libpython_folder()
    if libpython is None:
        problems.append(
            f"{_libpython_name()}, the interpreter as a shared library: install Debian's libpython"
            f"{sys.version_info[0]}.{sys.version_info[1]}, or a Python built with --enable-shared"
        )
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        problems.append(f"the package nvidia-pytriton: {_install('hf2triton[serve]')}")
        return None
    package = Path(spec.submodule_search_locations[0])
    server = package / "tritonserver"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        problems.append(f"a Python backend stub for Python {version}, which nvidia-pytriton does not hold")
    if libpython is None or not stub.exists():
        return None
    return Installation(
        tritonserver=server / "bin" / "tritonserver",
        libraries=package.parent / "nvidia_pytriton.libs",
        python_backend=server / "backends" / "python",
        stub=stub,
        caches=server / "caches",
        libpython_folder=libpython,
    )


def _libpython_name() -> str:
    return f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"


def _libpython_folder() -> Path | None:
    """Where the dynamic linker would find the interpreter's library; a relocated Python reports a wrong LIBDIR."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    candidates = [
        Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib"),
        Path(sys.base_prefix) / "lib",
        Path("/usr/lib") / multiarch,
        Path("/usr/local/lib"),
    ]
    return next((folder for folder in candidates if (folder / _libpython_name()).exists()), None)
