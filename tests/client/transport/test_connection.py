"""Urls, TLS, deadlines and servers that are not there."""

import socket
import time

import pytest

from hf2triton_client import ConnectionFailed, InputError, Tls, connect, pipeline
from hf2triton_client.transport.connection import Target, numbered


@pytest.mark.parametrize(
    ("url", "address", "tls"),
    [
        ("localhost:8001", "localhost:8001", None),
        ("grpc://10.0.0.1:9000", "10.0.0.1:9000", None),
        ("grpcs://triton.example:443", "triton.example:443", Tls()),
        ("dns:///triton.example:8001", "dns:///triton.example:8001", None),
        ("dns://10.0.0.10:53/triton.example:8001", "dns://10.0.0.10:53/triton.example:8001", None),
        ("ipv4:10.0.0.1:8001,10.0.0.2:8001", "ipv4:10.0.0.1:8001,10.0.0.2:8001", None),
    ],
)
def test_a_url_may_carry_a_scheme(url, address, tls):
    """grpcs means TLS; without a scheme there is none. gRPC's own targets stay as they are."""
    target = Target(url)
    assert (target.url, target.tls) == (address, tls)


@pytest.mark.parametrize("url", ["http://localhost:8000", "", "grpc://"])
def test_other_urls_are_refused(url):
    """An HTTP url is a common mistake and is named as one."""
    with pytest.raises(InputError, match="host:port"):
        Target(url)


def test_a_timeout_must_be_positive():
    """A timeout of 0 would fail each call without a word."""
    with pytest.raises(InputError, match="timeout"):
        Target("localhost:1", timeout=0)


def test_nobody_answers():
    """A closed port gives ConnectionFailed, which names the url, within a few seconds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(ConnectionFailed, match=f"127.0.0.1:{port}.*gRPC port"):
        pipeline("ner", model="x", url=f"127.0.0.1:{port}")
    assert time.monotonic() - began < 30


def test_a_silent_server_runs_into_the_deadline():
    """A port that accepts and says nothing ends in an error, not in waiting for ever."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises((TimeoutError, ConnectionError)):
            pipeline("ner", model="x", url=f"127.0.0.1:{silent.getsockname()[1]}", timeout=1, retries=0)
    assert time.monotonic() - began < 30


def test_a_model_needs_a_name():
    """pipeline() without a model says so before it connects."""
    with pytest.raises(InputError, match="model"):
        pipeline("ner")


def test_closing_twice_is_harmless():
    """A connection may be closed more than once."""
    connection = connect("localhost:1")
    connection.close()
    connection.close()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("input 3: the text has no mask token", "input 67: the text has no mask token"),
        ("text_pair 0 is not UTF-8: byte 5", "text_pair 64 is not UTF-8: byte 5"),
        ("the graph failed: input 3 has another shape", "the graph failed: input 3 has another shape"),
    ],
)
def test_errors_name_the_place_in_the_call(message, expected):
    """A long list is sent as several requests, of which the server counts each from 0."""
    assert numbered(message, 64) == expected
