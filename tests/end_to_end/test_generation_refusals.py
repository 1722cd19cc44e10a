"""What a served decoder refuses, with which status and words; it goes on serving."""

import json
import re
import urllib.error

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from .generation_calls import FP32, Stream, inputs_of, post

PROMPT = "And"
TOO_LONG = "word " * 400


def test_what_triton_itself_refuses(server):
    """Bodies that do not fit the tensors never reach the model; each has an error, and unary gRPC is not for decoupled ones."""
    for body, code in (
        (b"{", 500),
        ({"text_input": 5}, 500),
        (b'{"text_input": "\\ud800"}', 500),
        ({"text_input": PROMPT, "stream": "yes"}, 500),
        ({"text_input": PROMPT, "sampling_parameters": {"seed": 1}}, 500),
        ({"text_input": PROMPT, "stop": ["a", "b"]}, 400),
        ({"text_input": []}, 400),
        ({"text_input": ["a", "b"]}, 400),
        ({}, 400),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(server, FP32, "generate", body)
        assert (refused.value.code, "error" in json.loads(refused.value.read())) == (code, True), body
    client = triton.InferenceServerClient(server.url)
    with pytest.raises(InferenceServerException, match="doesn't support models with decoupled"):
        client.infer(FP32, inputs_of(text_input=PROMPT))
    client.close()


BAD_SETTINGS = [
    ({"temprature": 1}, "unknown parameters temprature; known are max_new_tokens, max_length, .*, truncate_prompt"),
    ({"temperature": 0}, "temperature must be a number from 0.0001 to 10000, not 0"),
    ({"temperature": "hot"}, 'temperature must be a number from 0.0001 to 10000, not "hot"'),
    ('{"temperature": NaN}', "temperature must be a number from 0.0001 to 10000, not NaN"),
    ({"top_p": 1.5}, "top_p must be a number from 0 to 1, not 1.5"),
    ({"top_k": -1}, "top_k must be an integer of at least 0, not -1"),
    ({"repetition_penalty": 0}, "repetition_penalty must be a number from 0.0001 to 10000, not 0"),
    ({"no_repeat_ngram_size": 2.5}, "no_repeat_ngram_size must be an integer of at least 0, not 2.5"),
    ({"max_new_tokens": 0}, "max_new_tokens must be an integer of at least 1, not 0"),
    ({"max_new_tokens": True}, "max_new_tokens must be an integer of at least 1, not true"),
    ({"max_new_tokens": 256}, "max_new_tokens must be an integer from 1 to 255 for this prompt, not 256.*takes 256"),
    ({"max_length": 1}, r"max_length \(1\) counts the prompt and leaves no room.*the prompt has 1 tokens"),
    ({"max_new_tokens": 5, "max_tokens": 5}, "max_tokens is another name of max_new_tokens"),
    ({"seed": -1}, "seed must be an integer from 0 to 18446744073709551615, not -1"),
    ({"do_sample": 1}, "do_sample must be true or false, not 1"),
    ({"do_sample": True, "num_return_sequences": 65}, "num_return_sequences must be an integer from 1 to 64, not 65"),
    ({"num_return_sequences": 2}, "set do_sample to true, or num_return_sequences to 1"),
    ({"stop": [""]}, "stop must be a text or a list of up to 16 texts, each of 1 to 256 characters"),
    ({"stop": ["a"] * 17}, "stop must be a text or a list of up to 16 texts"),
    ("{", "the parameters are not JSON"),
    ("", "the parameters are not JSON"),
    ("[" * 100_000, "the parameters are not JSON"),
    ("[1]", r"the parameters must be a JSON object, not \[1\]"),
    (b'{"stop": "\xff"}', "sampling_parameters is not UTF-8"),
    (" " * (1 << 20) + "{}", "sampling_parameters has 1,048,578 bytes; at most 1,048,576 are taken"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS, ids=[message[:40] for _, message in BAD_SETTINGS])
def test_bad_settings_are_refused(server, settings, message):
    """INVALID_ARGUMENT, HTTP 400, with the setting's name and what is allowed; the next request is answered."""
    given = json.dumps(settings) if isinstance(settings, dict) else settings
    refused_by_grpc(server, message, text_input=PROMPT, sampling_parameters=given)
    text = given if isinstance(given, bytes) else given.encode()
    escaped = text.replace(b'"', b'\\"')
    refused_by_http(server, message, b'{"text_input": "%b", "sampling_parameters": "%b"}' % (PROMPT.encode(), escaped))
    assert_goes_on(server)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"sampling_parameters": "{}"}, "text_input is missing"),
        ({"text_input": b"\xff\xfe"}, "text_input is not UTF-8"),
        ({"text_input": "x" * ((1 << 20) + 1)}, "text_input has 1,048,577 bytes; at most 1,048,576 are taken"),
        ({"text_input": TOO_LONG}, r"the prompt is too long: the prompt has [\d,]+ tokens and the model takes 256"),
        (
            {
                "text_input": PROMPT,
                "stream": True,
                "sampling_parameters": '{"num_return_sequences": 2, "do_sample": true}',
            },
            "num_return_sequences must be 1 for a stream; send several requests instead",
        ),
    ],
    ids=["none", "bytes", "big", "long", "sequences"],
)
def test_bad_inputs_are_refused(server, inputs, message):
    """INVALID_ARGUMENT, HTTP 400, with what is allowed; the next request is answered."""
    refused_by_grpc(server, message, **inputs)
    if isinstance(inputs.get("text_input"), bytes):
        refused_by_http(server, message, b'{"text_input": "%b"}' % inputs["text_input"])
    else:
        refused_by_http(server, message, inputs)
    assert_goes_on(server)


def test_settings_come_from_one_place(server):
    """Settings in `sampling_parameters` and among the request's own parameters are refused together, by name."""
    message = "sampling_parameters and the request's parameters seed, top_k exclude each other"
    refused_by_http(server, message, {"text_input": PROMPT, "sampling_parameters": "{}", "seed": 1, "top_k": 2})
    with Stream(server) as stream:
        inputs = inputs_of(text_input=PROMPT, sampling_parameters="{}")
        request = stream.send_inputs(FP32, inputs, parameters={"seed": 1, "top_k": 2})
        with pytest.raises(InferenceServerException, match=message):
            stream.read(request)
    with Stream(server) as stream:
        own = stream.read(stream.send_inputs(FP32, inputs_of(text_input=PROMPT), parameters={"max_new_tokens": 40}))
        assert own.token_ids == stream.ask(FP32, PROMPT, stream=False, max_new_tokens=40).token_ids
    assert_goes_on(server)


def test_an_error_leaves_the_stream_open(server):
    """After a refused request, those before and after it on the same stream are answered."""
    with Stream(server) as stream:
        before = stream.send(FP32, PROMPT, max_new_tokens=40)
        for _ in range(2):
            with pytest.raises(InferenceServerException, match="top_k must be"):
                stream.ask(FP32, PROMPT, top_k=-1)
        after = stream.send(FP32, PROMPT, max_new_tokens=40)
        assert stream.read(before).texts == stream.read(after).texts


def refused_by_grpc(server, message: str, **inputs: str | bytes | bool) -> None:
    with Stream(server) as stream:
        request = stream.send_inputs(FP32, inputs_of(**inputs))
        with pytest.raises(InferenceServerException, match=f"^INVALID_ARG: .*{message}"):
            stream.read(request)


def refused_by_http(server, message: str, body: object) -> None:
    for path, start in (("generate", ""), ("generate_stream", "data: ")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(server, FP32, path, body)
        assert refused.value.code == 400
        answer = refused.value.read().decode()
        assert answer.startswith(start)
        assert re.search(f"^INVALID_ARG: .*{message}", json.loads(answer.removeprefix("data: "))["error"])


def assert_goes_on(server) -> None:
    with Stream(server) as stream:
        assert stream.ask(FP32, PROMPT, max_new_tokens=5, ignore_eos=True).counts == [5]
