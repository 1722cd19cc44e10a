"""gRPC's errors become ours, in one table, whatever an input may have put into a message."""

import json
import warnings

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf2triton.triton_models.generation.settings import Settings
from hf2triton.triton_models.images import ImageEncoder
from hf2triton.triton_models.inputs import decoded
from hf2triton.triton_models.parameters import FLAG, parse_parameters
from hf2triton_client import errors
from hf2triton_client.error_rows import Origin
from hf2triton_client.errors import STATUS, TABLE, ClientError, from_rpc, from_stream

from .said import ANYONE, GRPC, TRITON

SAID = (*TRITON, *GRPC, *ANYONE)


def rows_that_match(code: str, message: str) -> list:
    """The row of the table that counts, in a list."""
    return [row for row in STATUS[code] if row.match(message) is not None][:1]


def test_every_status_is_mapped():
    """No gRPC status but OK is left without a row for whatever comes with it, which is its last one."""
    assert set(STATUS) == {code.name for code in grpc.StatusCode} - {"OK"}
    assert all([row.says is None for row in rows] == [False] * (len(rows) - 1) + [True] for rows in STATUS.values())
    assert sum(map(len, STATUS.values())) == len(TABLE), "the rows of a status stand together"


@pytest.mark.parametrize(("code", "message", "error", "reason"), SAID, ids=range(len(SAID)))
def test_what_was_said_becomes_the_error(code, message, error, reason):
    """Recorded messages of Triton and gRPC, and others that come with a status; the error says where and what."""
    made = from_rpc(f"StatusCode.{code}", message, "localhost:1")
    assert (type(made), made.reason, made.said) == (error, reason, message)
    assert "localhost:1" in str(made)


def test_every_row_is_reached_by_a_message_that_was_said():
    """And only by those of its own origin."""
    reached = []
    for origin, said in ((Origin.TRITON, TRITON), (Origin.GRPC, GRPC), (Origin.ANYONE, ANYONE)):
        for code, message, _, _ in said:
            [row] = rows_that_match(code, message)
            assert row.origin is origin, message
            reached.append(row)
    assert [row for row in TABLE if row not in reached] == []


@pytest.mark.parametrize(("code", "message", "error", "reason"), TRITON, ids=range(len(TRITON)))
def test_triton_in_a_stream_is_told_without_a_status(code, message, error, reason):
    """There the sentence alone tells what it is."""
    made = from_stream(message, "localhost:1")
    assert (type(made), made.reason) == (error, reason)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name != "OK"])
def test_an_error_names_the_url_and_what_the_server_said(code):
    """Each mapped error is a ClientError that says where and what."""
    error = from_rpc(str(code), "the details", "localhost:1")
    assert isinstance(error, ClientError)
    assert "localhost:1" in str(error)
    assert "the details" in str(error)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        ("StatusCode.UNAVAILABLE", "failed to connect to all addresses", errors.ConnectionFailed),
        ("StatusCode.UNAVAILABLE", "Connection reset by peer", errors.ConnectionFailed),
        ("StatusCode.UNAVAILABLE", "errors resolving nohost:8001: [Domain name not found]", errors.ConnectionFailed),
        (
            "StatusCode.UNAVAILABLE",
            "upstream connect error or disconnect/reset before headers",
            errors.ConnectionFailed,
        ),
        ("StatusCode.UNAVAILABLE", "a reader says: Socket closed", errors.ServerBusy),
        ("StatusCode.INTERNAL", "the text: Stub process is not healthy.", errors.ServerError),
        ("StatusCode.A_NEW_ONE", "whatever", errors.ServerError),
        (None, "something else", errors.ServerError),
        (None, "Request for unknown model: 'x' is not found", errors.ModelNotFound),
    ],
)
def test_a_sentence_counts_as_a_whole(status, message, expected):
    """What is not all of a known message is not that message."""
    made = from_rpc(status, message, "localhost:1")
    assert type(made) is expected
    assert made.reason is None


#: Words that decide elsewhere, and that somebody may write into an input.
TRIGGERS = [message for _, message, _, _ in (*TRITON, *GRPC)] + [
    *("not found", "is not ready", "unknown model", "no available versions", "Socket closed", "goaway", "dns"),
    *("INVALID_ARG: ", "UNAVAILABLE: ", "INTERNAL: ", "input 0: ", "text 0 ", "\n", "{url}", "{0}", "'", '"', "\ud800"),
]
texts = st.lists(st.one_of(st.sampled_from(TRIGGERS), st.text(max_size=8)), min_size=1, max_size=6).map("".join)


def refusals(text: str) -> list[str]:
    """What the models of ours say of inputs that hold a text."""
    escaped = json.dumps(text)
    encoded = text.encode("utf-8", "surrogatepass")
    encoder = ImageEncoder(
        {"size": None, "rescale_factor": None, "image_mean": None, "image_size": None}, 10_000, 1_000, workers=1
    )
    found = []
    for call in (
        lambda: parse_parameters(text, {"top_k": FLAG}),
        lambda: parse_parameters(f"{{{escaped}: 1}}", {"top_k": FLAG}),
        lambda: parse_parameters(f'{{"top_k": {escaped}}}', {"top_k": FLAG}),
        lambda: Settings.parse(f"{{{escaped}: 1}}", Settings()),
        lambda: Settings.parse(f'{{"temperature": {escaped}}}', Settings()),
        lambda: decoded("text 3", encoded + b"\xff", 10_000),
        lambda: decoded("text 3", encoded, 0),
    ):
        try:
            call()
        except ValueError as refused:
            found.append(str(refused))
    headers = (b"GIF89a", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"\xff\xd8\xff", b"RIFF0000WEBP", b"")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of what is corrupt
        images = encoder.encode([header + encoded for header in headers])
    found += [f"input {index}: {one}" for index, one in enumerate(images) if isinstance(one, ValueError)]
    # whatever else a reader or the graph may say of an input
    found += [f"input 7: {text}", f"input 7: the graph failed: {text}", f"the answer could not be made: {text}"]
    return found


@given(texts)
def test_an_input_decides_nothing(text):
    """Whatever it holds, what a model of ours says of it is an error of the request, with all that was said; also in a stream."""
    for message in refusals(text):
        for code, expected in (("INVALID_ARGUMENT", errors.InputError), ("INTERNAL", errors.ServerError)):
            made = from_rpc(f"StatusCode.{code}", message, "localhost:1")
            [row] = rows_that_match(code, message)
            assert (type(made), made.reason, row.origin) == (expected, None, Origin.ANYONE)
            assert str(made).endswith(message)
        for code, expected in (
            ("INVALID_ARG", errors.InputError),
            ("INTERNAL", errors.ServerError),
            ("UNAVAILABLE", errors.ServerBusy),
        ):
            made = from_stream(f"{code}: {message}", "localhost:1")
            assert (type(made), made.reason) == (expected, None)
            assert str(made).endswith(message)


def test_every_error_is_exported():
    """The public surface holds every error, and __all__ is complete."""
    import hf2triton_client

    ours = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, ClientError)}
    assert ours <= set(hf2triton_client.__all__)
    public = {name for name in vars(hf2triton_client) if not name.startswith("_")}
    assert set(hf2triton_client.__all__) <= public
