"""The options, and what follows from them and the repository: the facts that all objects are made from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.layout import entries, frontends_of, graph_model
from ..core.manifest import served_manifest
from ..errors import RepositoryError, UsageError
from ..repository.shared_memory import shared_memory_bytes
from .resources import MIB, ResourceNeed, host_bytes, need_of

#: Port of each protocol, as server.Dockerfile exposes it.
PORTS: Mapping[str, int] = {"grpc": 8001, "http": 8000, "metrics": 8002}
#: The least size of /dev/shm, through which tensors go to and from the Python models.
SHM_BYTES = 1024 * MIB
#: Where the repository is in the container if it comes from a volume.
MOUNTED = "/models"
#: Schemes of `--storage` whose files tritonserver fetches itself.
_REMOTE = ("s3", "gs", "as")
#: Valid names of Kubernetes objects, with room for the suffixes that are added to them.
_OBJECT_NAME = re.compile(r"[a-z]([a-z0-9-]{0,48}[a-z0-9])?")
#: Valid names of existing Secrets (RFC 1123).
_SECRET_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


@dataclass(frozen=True)
class ManifestOptions:
    """`names`: entries; empty for all. `storage`: where the cluster finds the repository: `pvc://CLAIM[/PATH]`, a bucket
    (`s3://`, `gs://`, `as://`), or an absolute path in the image. `image`: an image built from server.Dockerfile. `gpus`: per
    replica; None: 1 if an entry needs a GPU. `cpus`: per replica. `name`: the name of the objects."""

    repository: Path
    names: tuple[str, ...] = ()
    storage: str = "pvc://hf2triton-models"
    image: str | None = None
    replicas: int = 2
    gpus: int | None = None
    cpus: int = 4
    name: str = "hf2triton"
    tls: str | None = None
    mutual_tls: str | None = None
    control_key: str | None = None


@dataclass(frozen=True)
class VolumeClaim:
    """A PersistentVolumeClaim, and the folder in it ("" for all of it)."""

    name: str
    folder: str


@dataclass(frozen=True)
class DeploymentPlan:
    """`models`: what tritonserver loads, including the graphs behind frontends. `place`: the repository, as passed to
    tritonserver; `claim`: the claim that is mounted there, if any."""

    options: ManifestOptions
    models: tuple[str, ...]
    needs: tuple[ResourceNeed, ...]
    image: str
    gpus: int
    place: str
    claim: VolumeClaim | None

    @property
    def name(self) -> str:
        return self.options.name

    @property
    def remote(self) -> bool:
        """Whether pods need to reach a bucket."""
        return self.place.partition("://")[0] in _REMOTE

    @property
    def tls(self) -> str | None:
        """The Secret with the server's certificate."""
        return self.options.tls or self.options.mutual_tls

    @property
    def ports(self) -> dict[str, int]:
        """The ports that others can reach. With TLS, HTTP is excluded, because it has no TLS."""
        return {name: port for name, port in PORTS.items() if not (self.tls and name == "http")}

    @property
    def host_bytes(self) -> int:
        return host_bytes(self.needs)

    @property
    def shared_memory(self) -> int:
        """Bytes of /dev/shm."""
        return max(SHM_BYTES, shared_memory_bytes(self.options.repository, [need.name for need in self.needs]))

    @property
    def generates(self) -> bool:
        """Whether any model has its own slots and queue."""
        return any(need.state for need in self.needs)


def make_plan(options: ManifestOptions) -> DeploymentPlan:
    """Raises UsageError and RepositoryError."""
    _check(options)
    repository = options.repository
    frontends = [frontend for name in options.names for frontend in frontends_of(repository, name)] or entries(
        repository
    )
    frontends = list(dict.fromkeys(frontends))
    if not frontends:
        raise RepositoryError(f"{repository} holds no entry; hf2triton export puts one there")
    needs = tuple(need_of(repository, frontend, options.cpus) for frontend in frontends)
    behind = [graph_model(one) for one in frontends if served_manifest(repository, one).has_graph_model]
    on_gpu = [need.name for need in needs if need.on_gpu]
    gpus = options.gpus if options.gpus is not None else int(bool(on_gpu))
    if on_gpu and gpus == 0:
        raise UsageError(
            f"{', '.join(on_gpu)} was exported for a GPU: --gpus must be 1 or more, or export with --device cpu"
        )
    place, claim = _storage(options.storage)
    image = options.image or f"hf2triton-server:{'gpu' if gpus else 'cpu'}"
    return DeploymentPlan(options, (*frontends, *behind), needs, image, gpus, place, claim)


def _check(options: ManifestOptions) -> None:
    if not _OBJECT_NAME.fullmatch(options.name):
        raise UsageError(
            f"{options.name!r} cannot name objects of Kubernetes: up to 50 lower-case letters, digits and '-',"
            " beginning with a letter"
        )
    if options.tls and options.mutual_tls:
        raise UsageError("--mutual-tls is TLS as well: give it alone, without --tls")
    for what in ("tls", "mutual_tls", "control_key"):
        secret = getattr(options, what)
        if secret is not None and not _SECRET_NAME.fullmatch(secret):
            raise UsageError(f"--{what.replace('_', '-')} {secret!r} cannot be the name of a Secret of Kubernetes")
    least = {"replicas": 1, "cpus": 1, "gpus": 0}
    for what, lowest in least.items():
        value = getattr(options, what)
        if value is not None and value < lowest:
            raise UsageError(f"--{what} must be {lowest} or more, not {value}")


def _storage(storage: str) -> tuple[str, VolumeClaim | None]:
    """Returns what is passed to tritonserver, and the claim that is mounted. Raises UsageError."""
    scheme, separator, rest = storage.partition("://")
    if scheme == "pvc" and rest.strip("/"):
        claim, _, folder = rest.partition("/")
        return MOUNTED, VolumeClaim(claim, folder.strip("/"))
    if separator and scheme in _REMOTE and rest:
        return storage, None
    if not separator and storage.startswith("/"):
        return storage, None
    raise UsageError(
        f"--storage {storage!r} is not one of pvc://CLAIM[/PATH], s3://…, gs://…, as://ACCOUNT/CONTAINER/… (Azure, as Triton"
        " names it), or an absolute path in the image"
    )
