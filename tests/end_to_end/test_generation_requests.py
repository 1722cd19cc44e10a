"""How a served decoder is asked: HTTP whole and as server-sent events, gRPC, asyncio, prompts of any length."""

import asyncio
import json

import pytest
import tritonclient.grpc.aio as triton_aio

from .generation_calls import FP32, Reply, Stream, inputs_of, is_last, post
from .generation_reference import CONTEXT, PROMPTS, ending, pytorch


def events(answer: str) -> list[dict]:
    """Of server-sent events; nothing but `data` is among them."""
    parts = answer.strip().split("\n\n")
    assert all(part.startswith("data: ") for part in parts)
    return [json.loads(part.removeprefix("data: ")) for part in parts]


@pytest.mark.parametrize(
    "body",
    [
        {"max_new_tokens": 40, "return_full_text": True},
        {"parameters": {"max_new_tokens": 40, "return_full_text": True}},
        {"parameters": {"max_tokens": "40", "exclude_input_in_output": False}},
        {"sampling_parameters": json.dumps({"max_new_tokens": 40, "return_full_text": True})},
        {"sampling_parameters": json.dumps({"max_new_tokens": 40}), "exclude_input_in_output": False},
        {"max_new_tokens": 40, "return_full_text": True, "exclude_input_in_output": True},
    ],
)
def test_http_takes_settings_in_all_its_forms(server, body):
    """At the top, in `parameters` and as `sampling_parameters`; whole and as server-sent events the answer is the same."""
    expected = pytorch().generate(ending(), max_new_tokens=40)
    whole = json.loads(post(server, FP32, "generate", {"text_input": ending(), **body}))
    assert isinstance(whole.pop("fingerprint"), int)
    assert whole == {
        "model_name": FP32,
        "model_version": "1",
        "text_output": ending() + pytorch().text(expected),
        "finish_reason": "eos",
        "num_input_tokens": len(pytorch().ids(ending())),
        "num_output_tokens": len(expected),
        "token_ids": expected,
    }
    *earlier, last = events(post(server, FP32, "generate_stream", {"text_input": ending(), "stream": True, **body}))
    assert {event["finish_reason"] for event in earlier} == {""}
    assert "".join(event["text_output"] for event in [*earlier, last]) == whole["text_output"]
    assert [token for event in [*earlier, last] for token in flat(event["token_ids"])] == expected
    assert {name: last[name] for name in last if name not in ("text_output", "token_ids", "fingerprint")} == {
        name: whole[name] for name in whole if name not in ("text_output", "token_ids")
    }


def flat(value: int | list[int]) -> list[int]:
    """Triton's JSON has a tensor of one element as a number, and others without their shape."""
    return value if isinstance(value, list) else [value]


def test_http_answers_several_sequences_as_lists(server):
    """Texts, reasons and counts come as lists, the tokens in one, row by row."""
    body = {"text_input": ending(), "do_sample": True, "num_return_sequences": 3, "seed": 3, "max_new_tokens": 40}
    answer = json.loads(post(server, FP32, "generate", body))
    with Stream(server) as stream:
        reply = stream.ask(FP32, ending(), stream=False, **{name: body[name] for name in list(body)[1:]})
    assert (answer["text_output"], answer["finish_reason"]) == (reply.texts, reply.reasons)
    assert answer["num_output_tokens"] == reply.counts
    longest = max(reply.counts)
    rows = [answer["token_ids"][start : start + longest] for start in range(0, 3 * longest, longest)]
    assert rows == [[*ids, *[0] * (longest - len(ids))] for ids in reply.token_ids]


def test_http_generate_gives_no_stream(server):
    """Triton answers a stream on `generate` with an error and status 200: only `generate_stream` may stream."""
    answer = post(server, FP32, "generate", {"text_input": ending(), "stream": True, "max_new_tokens": 40})
    assert "use generate stream" in json.loads(answer)["error"]


def test_an_empty_prompt_begins_a_text(server):
    """It stands for the token with which texts begin, as in transformers' pipeline."""
    with Stream(server) as stream:
        reply = stream.ask(FP32, "", max_new_tokens=40, return_full_text=True)
    expected = pytorch().generate("<|endoftext|>", max_new_tokens=40)
    assert (reply.token_ids, reply.prompt_tokens) == ([expected], 1)
    assert reply.texts == [pytorch().text(expected)]


def test_a_long_prompt_loses_its_beginning_on_request(server):
    """truncate_prompt keeps as many of the last tokens as leave room for the new ones; otherwise they must fit, exactly."""
    import torch

    text = " ".join(PROMPTS)
    with Stream(server) as stream:
        reply = stream.ask(FP32, text, truncate_prompt=True, max_new_tokens=40)
        fitting = pytorch().text(pytorch().ids(text)[: CONTEXT - 1])
        least = stream.ask(FP32, fitting)
    kept = torch.tensor([pytorch().ids(text)[40 - CONTEXT :]])
    expected = pytorch().model.generate(kept, max_new_tokens=40, do_sample=False, pad_token_id=pytorch().eos)
    assert reply.token_ids == [expected[0, CONTEXT - 40 :].tolist()]
    assert reply.prompt_tokens == CONTEXT - 40
    assert (least.prompt_tokens, least.counts, least.reasons) == (CONTEXT - 1, [1], ["length"])


def test_the_final_response_is_marked(server):
    """Each request has one final response, the one with the reason, even where an empty one is asked for besides."""
    with Stream(server) as stream:
        given = json.dumps({"max_new_tokens": 5, "ignore_eos": True})
        inputs = inputs_of(text_input=ending(), stream=True, sampling_parameters=given)
        for empty in (False, True):
            request = stream.send_inputs(FP32, inputs, enable_empty_final_response=empty)
            assert stream.read(request).reasons == ["length"]
            assert stream.rest(0.3) == []


def test_asyncio_callers(server):
    """The asyncio client streams eight requests at once; each is whole and equal to a run alone."""

    async def ask(client, prompt: str) -> Reply:
        async def requests():
            given = json.dumps({"max_new_tokens": 100, "ignore_eos": True})
            yield {"model_name": FP32, "inputs": inputs_of(text_input=prompt, stream=True, sampling_parameters=given)}

        responses = []
        async for result, error in client.stream_infer(requests()):
            assert error is None
            responses.append((0.0, result))
        assert is_last(result)
        return Reply.of(responses)

    async def ask_all():
        async with triton_aio.InferenceServerClient(server.url) as client:
            return await asyncio.gather(*(ask(client, prompt) for prompt in PROMPTS[:8]))

    replies = asyncio.run(ask_all())
    with Stream(server) as stream:
        alone = [stream.ask(FP32, prompt, max_new_tokens=100, ignore_eos=True) for prompt in PROMPTS[:8]]
    assert [reply.token_ids for reply in replies] == [reply.token_ids for reply in alone]
    assert [reply.texts for reply in replies] == [reply.texts for reply in alone]
    assert all(len(reply.pieces) > 1 for reply in replies)
