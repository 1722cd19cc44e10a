"""`hf2triton lint --server`: what a real server answers in each of its modes, and what that says."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest.mock import patch

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from click.testing import CliRunner
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from hf2triton.cli import main
from hf2triton.demo.examples import DECLARED
from hf2triton.lint import NOTE, RULES, lint
from hf2triton.lint.models import read_repository
from hf2triton.lint.server import CLOSED, OFF, OPEN, Seen, look_at
from hf2triton.serving import Server
from hf2triton.serving import server as serving
from hf2triton.serving.plan import ServerPlan
from hf2triton_client.errors import ConnectionFailed, InputError
from hf2triton_client.transport.tls import CLIENT_TLS

from ...certificates import make_certificates
from .breaking import config


class Unrestricted(ServerPlan):
    """Of a server whose control endpoints want no key."""

    def of(self, *arguments):
        plan = super().of(*arguments)
        return {**plan, "command": [flag for flag in plan["command"] if "restricted" not in flag]}


class Uncontrolled(Unrestricted):
    """Of one that loads everything at its start, and nothing later."""

    def of(self, *arguments):
        return {**super().of(*arguments), "models": []}


MODES = {
    "restricted": (ServerPlan, {}),
    "shared memory": (ServerPlan, {"shared_memory": True}),
    "open": (Unrestricted, {}),
    "none": (Uncontrolled, {"flags": ("--model-control-mode=none",)}),
}


@pytest.fixture(scope="module")
def served(assorted, tmp_path_factory):
    """A repository with one small model."""
    folder = tmp_path_factory.mktemp("served") / "model_repository"
    shutil.copytree(assorted / "plain", folder / "plain")
    return folder


@pytest.fixture(scope="module", params=MODES)
def running(request, served):
    """The mode, and a server in it."""
    kind, options = MODES[request.param]
    with patch.object(serving, "ServerPlan", kind):
        server = Server(served, **options).start()
    try:
        yield request.param, server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def restricted(served):
    with Server(served) as server:
        yield server


def found(report):
    return {one.rule for one in report.findings if one.severity != NOTE}


def test_endpoints_are_told_apart(running, served):
    """Open, closed by a key, or off; asking changes nothing."""
    mode, server = running
    first = look_at(server.url, ("plain",))
    control = {"restricted": CLOSED, "shared memory": CLOSED, "open": OPEN, "none": OFF}[mode]
    memory = CLOSED if mode == "restricted" else OPEN
    settings = OPEN if mode in ("open", "none") else CLOSED
    assert first.endpoints == {
        "model control": control,
        "shared memory": memory,
        "shared memory status": memory,
        "trace": settings,
        "logging": settings,
    }
    assert (first.version, first.release, first.tls, first.on_loopback) == ("2.51.0", "24.10", False, True)
    assert first.ready == {"plain": (1,)}
    assert look_at(server.url, ("plain",)) == first
    assert server.running


def test_what_is_open_is_found(running, served):
    """An error each for control and shared memory, warnings for settings; the embedded server is older than many fixes."""
    mode, server = running
    expected = {"server-cve"}
    expected |= {"server-control"} if mode == "open" else set()
    expected |= {"server-shared-memory"} if mode != "restricted" else set()
    expected |= {"server-settings"} if mode in ("open", "none") else set()
    report = lint(served, url=server.url)
    assert found(report) == expected
    assert report.server == f"{server.url}, Triton 2.51.0"
    [known] = [one for one in report.findings if one.rule == "server-cve"]
    assert "CVE-2025-23310 (9.8" in known.message
    assert any(one.startswith("CVE-2025-23319 8.1 fixed in 25.07") for one in known.more)


@pytest.fixture
def changed(served, tmp_path):
    """The same repository, to be changed behind the server's back."""
    folder = tmp_path / "model_repository"
    shutil.copytree(served, folder)
    shutil.rmtree(folder / "plain" / "1" / "__pycache__", ignore_errors=True)
    return folder


def differing(repository, server):
    return found(lint(repository, url=server.url, ignore=("digest", "server-cve")))


def test_another_config_is_found(changed, restricted):
    """What the server fills in is no difference; a key that is new, gone or other is one."""
    assert differing(changed, restricted) == set()
    config("plain", lambda own: setattr(own.dynamic_batching, "max_queue_delay_microseconds", 7))(changed)
    report = lint(changed, url=restricted.url)
    [other] = [one for one in report.findings if one.rule == "server-config"]
    assert "dynamic_batching.max_queue_delay_microseconds is '0' there, '7' here" in other.message
    config("plain", lambda own: own.parameters.pop("hf2triton"))(changed)
    config("plain", lambda own: own.output.pop())(changed)
    [other] = [one for one in lint(changed, url=restricted.url).findings if one.rule == "server-config"]
    assert {"parameters[hf2triton] is new there", "output has 4 entries there, 3 here"} <= set(other.more)


def test_another_version_is_found(changed, restricted):
    """The config wants one that the server has not loaded."""
    shutil.copytree(changed / "plain" / "1", changed / "plain" / "2")
    config("plain", lambda own: own.version_policy.specific.versions.__setitem__(0, 2))(changed)
    assert {"server-version", "server-config"} <= differing(changed, restricted)


def test_models_that_are_not_served_and_not_here_are_found(changed, restricted):
    """In both directions."""
    (changed / "plain").rename(changed / "other")
    config("other", lambda own: setattr(own, "name", "other"))(changed)
    report = lint(changed, url=restricted.url)
    assert {
        (one.rule, one.where)
        for one in report.findings
        if one.rule.startswith("server-") and one.where != report.server
    } >= {("server-not-ready", "other"), ("server-unknown-model", "plain")}


def test_models_are_found_where_statistics_are_restricted(served):
    """One after the other; their versions stay unknown."""
    with Server(served, flags=("--grpc-restricted-protocol=statistics:a=b",)) as server:
        assert look_at(server.url, ("plain", "other")).ready == {"plain": ()}
        assert found(lint(served, url=server.url)) == {"server-cve"}


def test_more_items_than_the_limit_are_refused(restricted):
    """By Triton itself, before the frontend sees any."""
    client = triton.InferenceServerClient(restricted.url)
    for rows in (64, 65):
        text = triton.InferInput("text", [rows, 1], "BYTES")
        text.set_data_from_numpy(np.full((rows, 1), b"ok", np.object_))
        if rows <= 64:
            assert client.infer("plain", [text]).as_numpy("logits").shape == (64, 3)
        else:
            with pytest.raises(InferenceServerException, match="batch-size must be <= 64"):
                client.infer("plain", [text])


@pytest.mark.parametrize(
    ("url", "tls", "plain"),
    [
        ("localhost:8001", False, False),
        ("127.0.0.1:8001", False, False),
        ("[::1]:8001", False, False),
        ("10.0.0.7:8001", False, True),
        ("triton.example:8001", False, True),
        ("127.0.0.1.example:8001", False, True),
        ("triton.example:8001", True, False),
    ],
)
def test_texts_in_the_clear_are_found(served, url, tls, plain):
    """Unless they stay on this machine."""
    closed = dict.fromkeys(("model control", "shared memory", "shared memory status", "trace", "logging"), CLOSED)
    seen = Seen(url, tls, "2.72.0", closed, {"plain": (1,)})
    everything = replace(read_repository(served), server=seen)
    wrong = {
        id
        for id, rule in RULES.items()
        if rule.scope == "server" and rule.severity != NOTE and list(rule.check(everything, seen))
    }
    assert wrong == ({"server-plaintext"} if plain else set())


@pytest.mark.parametrize(("tls", "mutual_tls"), [(False, False), (True, False), (True, True)])
def test_who_can_fail_the_requests_of_others_is_told(tls, mutual_tls):
    """A note, unless callers need a certificate; it names the models that are served and whose requests with BYTES are merged."""
    everything = read_repository(DECLARED.parent)
    seen = Seen("triton.example:8001", tls, "2.51.0", {}, {"sentiment": (1,), "verses": (1,)}, {}, mutual_tls)
    rule = RULES["server-malformed"]
    told = list(rule.check(everything, seen))
    assert rule.severity == NOTE
    assert [one.more for one in told] == ([] if mutual_tls else [("sentiment",)])
    for one in told:
        assert "(--mutual-tls)" in one.message
        assert "a gateway that decodes requests and encodes them anew" in one.message
        assert one.message.endswith("Models: sentiment")
    nothing = replace(seen, ready={"verses": (1,)}, mutual_tls=False)
    assert list(rule.check(everything, nothing)) == []


class Named(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A server that tells its version, and nothing more."""

    def ServerMetadata(self, request, context):  # noqa: N802 – as the service calls it
        return service_pb2.ServerMetadataResponse(name="triton", version="2.51.0")


@pytest.mark.parametrize("mutual", [False, True])
def test_who_must_have_a_certificate_is_found_out(mutual, tmp_path, monkeypatch):
    """By calling without it, though we have one: a server with TLS alone does not look at it."""
    made = make_certificates(tmp_path)
    key, certificate, authority = ((made / "server" / name).read_bytes() for name in ("tls.key", "tls.crt", "ca.crt"))
    server = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Named(), server)
    wanted = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=mutual)
    port = server.add_secure_port("localhost:0", wanted)
    server.start()
    monkeypatch.setenv(CLIENT_TLS, str(made / "caller"))
    try:
        seen = look_at(f"grpcs://localhost:{port}", ())
    finally:
        server.stop(None).wait()
    assert (seen.tls, seen.mutual_tls) == (True, mutual)


def test_a_release_that_is_not_known_is_a_note(served):
    """Newer ones load what older ones did, as far as anybody knows."""
    seen = Seen("localhost:8001", False, "2.99.0", {}, {"plain": (1,)})
    everything = replace(read_repository(served), server=seen)
    [problem] = RULES["graph-release"].check(everything, everything.every["plain"])
    assert problem.severity == NOTE
    assert "release '28.11' is unknown; known are" in problem.message


def test_a_list_of_regions_is_less_than_a_new_one(served):
    """A warning where registering is refused."""
    endpoints = {"model control": OFF, "shared memory": OFF, "shared memory status": OPEN, "trace": OFF, "logging": OFF}
    seen = Seen("localhost:8001", False, "2.72.0", endpoints, {})
    [problem] = RULES["server-shared-memory"].check(read_repository(served), seen)
    assert problem.severity == "warning"


def test_no_server_and_no_grpc(served):
    """The client's own errors, and exit codes 1 and 2."""
    with pytest.raises(ConnectionFailed, match=r"no Triton server answers at 127.0.0.1:9"):
        lint(served, url="127.0.0.1:9")
    with pytest.raises(InputError, match="the client speaks gRPC"):
        lint(served, url="http://localhost:8000")
    command = ["lint", str(served), "--server"]
    assert CliRunner().invoke(main, [*command, "127.0.0.1:9"]).exit_code == 1
    assert CliRunner().invoke(main, [*command, "http://localhost:8000"]).exit_code == 2
