"""The server image's entry point, run here with the embedded tritonserver in place of the container's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

DOCKER = Path(__file__).parents[2] / "docker"
KEY = "a key for tests"


@dataclass(frozen=True)
class Served:
    """`log`: the file that the server writes to."""

    process: subprocess.Popen
    ports: dict[str, int]
    log: Path

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.ports['grpc']}"

    @property
    def tritonserver(self) -> psutil.Process:
        [server] = psutil.Process(self.process.pid).children()
        return server

    def named(self) -> dict[str, str]:
        """The models that are not served, each with the reason that was given."""
        return dict(re.findall(r"^serve.sh: (\S+) is not served: (.*)$", self.log.read_text("utf-8"), re.MULTILINE))

    def ask(self, path: str, port: str = "http", data: bytes | None = None, **headers: str) -> tuple[int, str]:
        """The status and text of an HTTP endpoint."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://127.0.0.1:{self.ports[port]}/{path}"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, data, {**names, "Connection": "close"})
            ) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def entry_point(folder: Path) -> Path:
    """serve.sh in a folder, with all that the image has beside it."""
    text = (DOCKER / "server.Dockerfile").read_text("utf-8").replace("\\\n", " ")
    for sources, target in re.findall(r"^COPY (?:--chmod=755 )?(.*) /opt/hf2triton/(\S*/)?$", text, re.MULTILINE):
        (folder / target).mkdir(exist_ok=True)
        for source in sources.split():
            shutil.copy(DOCKER.parent / source, folder / target)
    return folder / "serve.sh"


@contextmanager
def serving(repository: Path, python: Path, wait: bool = True, **variables: str) -> Iterator[Served]:
    """docker/serve.sh on a repository, started as the image starts it but for ports and where its parts lie. `python`: the folder
    of programs of the environment in which the Python models run. `wait`: until it is ready. `variables`: further ones of the
    environment."""
    from hf2triton.serving.leftovers import remove_shared_memory
    from hf2triton.serving.requirements import check_requirements, free_ports
    from hf2triton.serving.staging import stage

    installation = check_requirements()
    protocols = ("http", "grpc", "metrics")
    ports = free_ports(dict.fromkeys(protocols, "127.0.0.1"), dict.fromkeys(protocols, 0))
    prefix = f"hf2triton-image-{os.getpid()}-{ports['grpc']}-"
    folder = Path(tempfile.mkdtemp(prefix="hf2triton-image-"))
    process = None
    try:
        stage(installation, folder)
        image = folder / "image"
        image.mkdir()
        log = folder / "log"
        command = [
            str(entry_point(image)),
            f"--model-repository={repository}",
            "--load-model=*",
            f"--backend-directory={folder / 'backends'}",
            f"--cache-directory={folder / 'caches'}",
            *(f"--{name}-address=127.0.0.1" for name in ports),
            *(f"--{name}-port={port}" for name, port in ports.items()),
            "--allow-gpu-metrics=false",
            f"--backend-config=python,shm-region-prefix-name={prefix}",
            "--exit-timeout-secs=20",
        ]
        environment = {
            **os.environ,
            "PATH": f"{python}:{installation.tritonserver.parent}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": f"{installation.libraries}:{installation.libpython_folder}",
            "HF2TRITON_CONTROL_KEY": KEY,
            "TRITON_SERVER_CPU_ONLY": "1",
            **variables,
        }
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=folder / "empty",
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        running = Served(process, ports, log)
        until = time.monotonic() + 120
        while wait and not _ready(running):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield running
    finally:
        if process is not None:
            kill_all(process.pid)
            process.wait()
            Path(tempfile.gettempdir(), f"hf2triton-away-{process.pid}.json").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        remove_shared_memory(prefix)


def kill_all(pid: int) -> None:
    """A process and all below it."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for one in [*root.children(recursive=True), root]:
            with suppress(psutil.NoSuchProcess):
                one.kill()


@pytest.fixture(scope="module")
def served(measured) -> Iterator[Served]:
    """On the repository of `measured`, with the environment of the tests."""
    with serving(measured.repository, Path(sys.prefix) / "bin") as running:
        yield running


def _ready(running: Served) -> bool:
    try:
        return running.ask("v2/health/ready")[0] == 200
    except OSError:
        return False
