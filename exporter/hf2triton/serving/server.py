"""A context manager that starts a tritonserver on a model repository and stops it."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..core.control import CONTROL_HEADER, control_headers
from ..core.layout import is_candidate, versions
from ..errors import ServingError
from .access import Access, server_tls
from .claims import Claim, clear_up_for
from .leftovers import remove_shared_memory
from .loading import ONE_BY_ONE, Control, culprits, failures, stranded
from .missing import missing
from .plan import Ports, ServerPlan, shm_prefix
from .process import NotLoaded, Process
from .requirements import check_gpus, check_ports, check_requirements, free_ports, without_gpu
from .staging import stage


class Server:
    """An embedded Triton that serves all models of a repository.

        with Server("model_repository") as server:
            pipeline("sentence-similarity", model="minilm", url=server.url)

    A port of 0 means any free port. The server listens on the loopback interface unless `host` says otherwise; do not expose
    it, because its version is older than the security fixes of 2025. `log`: the file for Triton's log; by default a temporary
    file, removed at the end. `ready_timeout`: seconds that a start may take. `shared_memory`: clients on this machine may pass
    tensors in shared memory. `control_key`: the key for loading models; by default a secret key. `tls`: a folder with tls.crt
    and tls.key, for gRPC; or `mutual_tls`: a folder that also has the ca.crt of permitted callers. With either, HTTP listens
    only on the loopback interface, and answers only health requests unless the control key comes with a request. `flags`:
    further flags for tritonserver. `tell`: report what the supervisor does on stderr too, not only in the log.

    A server that ends or hangs is restarted on the same ports, and a model whose process has died is reloaded. `running` is false
    once starting the server has failed several times in a row.

    `strict`: a model that cannot be loaded makes the start fail. Otherwise the rest is served, and the endpoint is ready once all
    models have been tried. `failed` has the models that are not served, with Triton's reasons, and `on_failure` is called for
    each failure as soon as it is known. The start still fails if no model is left. Raises ServingError and UsageError.
    """

    def __init__(
        self,
        repository: str | Path,
        *,
        host: str = "127.0.0.1",
        http_port: int = 0,
        grpc_port: int = 0,
        metrics_port: int = 0,
        log: str | Path | None = None,
        ready_timeout: float = 120.0,
        shared_memory: bool = False,
        control_key: str | None = None,
        tls: Path | None = None,
        mutual_tls: Path | None = None,
        flags: Sequence[str] = (),
        strict: bool = True,
        on_failure: Callable[[str, str], None] = lambda model, reason: None,
        tell: bool = False,
    ) -> None:
        self.repository = Path(repository).resolve()
        self.host = host
        self._asked = {"http": http_port, "grpc": grpc_port, "metrics": metrics_port}
        self._log = Path(log) if log else None
        self._ready_timeout = ready_timeout
        self._flags = tuple(flags)
        own_key = {"key": control_key} if control_key else {}
        self.access = Access(server_tls(tls, mutual_tls), shared_memory, **own_key)
        self._process: Process | None = None
        self._strict = strict
        self._on_failure = on_failure
        self._tell = tell
        self.failed: dict[str, str] = {}
        self._claim: Claim | None = None
        self.ports = Ports(0, 0, 0)
        self.ready_seconds = 0.0

    @property
    def url(self) -> str:
        """`host:port` of the gRPC endpoint, for the client."""
        return f"{self.host}:{self.ports.grpc}"

    @property
    def http_url(self) -> str:
        """The URL of the HTTP endpoint."""
        return f"http://{self.access.address('http', self.host)}:{self.ports.http}"

    @property
    def metrics_url(self) -> str:
        """The URL of the metrics, without `/metrics`."""
        return f"http://{self.access.address('metrics', self.host)}:{self.ports.metrics}"

    @property
    def control_headers(self) -> dict[str, str]:
        """The gRPC headers that allow a client to load and unload models."""
        return control_headers(self.access.key)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    def start(self) -> Server:
        """Starts the server and waits until every model is ready or has failed."""
        began = time.monotonic()
        installation = check_requirements()
        self.failed = {}
        self._check_repository()
        hosts = {protocol: self.access.address(protocol, self.host) for protocol in self._asked}
        clear_up_for(partial(check_ports, hosts, self._asked))
        self.ports = Ports(**free_ports(hosts, self._asked))
        claim = self._claim = Claim.new()
        folder = claim.folder
        self._log_path = self._log or folder / "server.log"
        self._plan = ServerPlan(installation, folder, self.repository, self.host, self.access, self._flags, self._tell)
        try:
            stage(installation, folder)
            process = self._load_all(claim, began + self._ready_timeout)
            process.wait_for(lambda: Control(self.metrics_url, {}).answers("metrics"), self._ready_timeout)
        except BaseException:
            self.stop()
            raise
        self.ready_seconds = time.monotonic() - began
        return self

    def stop(self) -> None:
        """Lets work in flight finish, ends the server and removes what it used. Can be called twice."""
        if self._process is not None:
            self._process.stop()
        self._process = None
        if self._claim is not None:
            self._claim.release()
            self._claim = None
            remove_shared_memory(shm_prefix(self.host, self.ports))

    def _load_all(self, claim: Claim, until: float) -> Process:
        """Loads all models side by side. If that takes the server down, finds the models responsible one by one and leaves them
        out. If the server still goes down, loads the rest one by one."""
        models = self._models()
        flags: tuple[str, ...] = ()
        attempt = 0
        while True:
            self._fail_stranded(models)
            left = [name for name in models if name not in self.failed]
            if not left:
                raise self._not_loaded(models)
            process = self._process = Process(self._plan.of(self.ports, self._log_path, left, flags), claim)
            try:
                process.wait_for(process.control.live, until - time.monotonic())
                for name, reason in failures(process.control, left, process.log).items():
                    self._fail(name, reason)
                for frontend in self._fail_stranded(models):
                    process.control.unload(frontend)
            except NotLoaded:
                process.kill()
                if attempt == 2:
                    raise
            else:
                self._check_failed(models)
                return process
            if attempt == 0:
                culprits(left, partial(self._trial, claim), self._ready_timeout, self._fail)
            else:
                flags = (ONE_BY_ONE,)
            attempt += 1
            until = time.monotonic() + self._ready_timeout

    def _check_failed(self, models: Sequence[str]) -> None:
        """Raises ServingError if there is no point in continuing without the failed models."""
        if self.failed and (self._strict or len(self.failed) == len(models)):
            raise self._not_loaded(models)

    def _not_loaded(self, models: Sequence[str]) -> ServingError:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in self.failed.items())
        return ServingError(
            f"{len(self.failed)} of {len(models)} models of {self.repository} were not loaded:{reasons}"
        )

    def _fail_stranded(self, models: Sequence[str]) -> list[str]:
        """Marks the frontends that cannot answer without their graph as failed, and returns them."""
        frontends = stranded(self.failed, models)
        for frontend, reason in frontends.items():
            self._fail(frontend, reason)
        return list(frontends)

    def _fail(self, model: str, reason: str) -> None:
        self.failed[model] = reason
        if not self._strict:
            self._on_failure(model, reason)

    @contextmanager
    def _trial(self, claim: Claim) -> Iterator[Process]:
        """Starts a server without models, at ports that nobody knows."""
        hosts = {protocol: self.access.address(protocol, self.host) for protocol in self._asked}
        ports = Ports(**free_ports(hosts, dict.fromkeys(self._asked, 0)))
        process = Process(self._plan.of(ports, claim.folder / "trial.log", []), claim)
        try:
            process.wait_for(process.control.live, self._ready_timeout)
            yield process
        finally:
            process.kill()

    def load(self, name: str) -> None:
        """Makes the server reload a model, for a new version or another config. Raises ServingError."""
        if (why := missing([self.repository], name)) is not None:
            raise ServingError(f"{name} was not loaded: {why}")
        request = urllib.request.Request(
            f"{self.http_url}/v2/repository/models/{name}/load",
            b"{}",
            {CONTROL_HEADER: self.access.key, "Connection": "close"},
        )
        try:
            urllib.request.urlopen(request, timeout=self._ready_timeout).close()
        except urllib.error.HTTPError as error:
            raise ServingError(f"{name} was not loaded: {error.read().decode(errors='replace')}") from error
        except OSError as error:
            raise ServingError(f"{name} was not loaded: {error}") from error

    def log_text(self) -> str:
        """What the server has written so far."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _check_repository(self) -> None:
        if not self.repository.is_dir():
            raise ServingError(f"there is no model repository at {self.repository}")
        if not any(versions(path) for path in self.repository.iterdir()):
            raise ServingError(f"{self.repository} holds no model with a version; hf2triton export puts one there")
        models = self._models()
        wanting = without_gpu(self.repository, models)
        if self._strict or len(wanting) == len(models):
            check_gpus(self.repository, wanting)
        for name in wanting:
            self._fail(
                name, "it wants a GPU, and there is none here; hf2triton export --device cpu makes one that does not"
            )
        for name in models:
            if (why := missing([self.repository], name)) is not None and name not in self.failed:
                self._fail(name, why)
        self._check_failed(models)

    def _models(self) -> list[str]:
        """All models of the repository, except trial models that a killed publisher left."""
        return sorted(path.name for path in self.repository.iterdir() if versions(path) and not is_candidate(path.name))
