"""The frontend of a model that generates, with Triton's module replaced: every request ends, whatever fails on its way."""

import numpy as np
import pytest

from hf2triton.triton_models.generation.request_state import Answer
from hf2triton.triton_models.generation.response_sender import ResponseSender
from hf2triton.triton_models.generation.settings import Settings

from ..stub import Request, Sender, frontend
from .callers import make_engine
from .listeners import greedy_text, tokenizer, wait_until
from .tiny_decoder import MAX_LENGTH

module = frontend("generation_frontend")
PROMPT = "the"
TOKENS = 6
GREEDY = f'{{"max_new_tokens": {TOKENS}}}'


class Panic(BaseException):
    """As pyo3's: no Exception."""


class Panicking:
    """A tokenizer that panics at some texts, or when it decodes."""

    def __init__(self, decodes=10**6):
        self.decodes = decodes

    def __getattr__(self, name):
        return getattr(tokenizer(), name)

    def encode_batch_fast(self, texts):
        if any(text.startswith("!") for text in texts):
            raise Panic("index out of bounds")
        return tokenizer().encode_batch_fast(texts)

    def decode(self, *arguments, **options):
        self.decodes -= 1
        if self.decodes < 0:
            raise Panic("index out of bounds")
        return tokenizer().decode(*arguments, **options)


def start(decodes=10**6, **options):
    """A model with the tiny decoder, as `initialize` would leave it."""
    made = module.TritonPythonModel()
    made.max_bytes, made.context, made.defaults = 10_000, MAX_LENGTH, Settings()
    made.bos_token_id, made.eos_token_ids, made.clean_up, made.stamp = None, (), False, {}
    made.tokenizer = Panicking(decodes)
    made.scheduler = make_engine(**options).start()
    made.sender = ResponseSender(made.scheduler, lambda seconds: None).start()
    return made


@pytest.fixture
def running():
    made = start()
    yield made
    made.finalize()
    assert not made.sender._thread.is_alive()
    assert not made.scheduler._thread.is_alive()


def request(text=PROMPT, settings=GREEDY, fails=0, timeout=0, outputs=("text_output", "token_ids"), **more):
    """`None` leaves out an input."""
    texts = {"text_input": text, "sampling_parameters": settings}
    inputs = {name: [value] for name, value in texts.items() if value is not None}
    return Request({**inputs, **more}, outputs, timeout=timeout, sender=Sender(fails))


def answer_to(asked: Request):
    """The only response of a request, once it has ended."""
    wait_until(lambda: asked.sender.closed)
    [response] = asked.sender.sent
    return response


def test_only_outputs_that_were_asked_for_are_sent(running):
    """Triton would free the others in a thread that does not hold Python's lock."""
    asked = request(outputs=("finish_reason", "text_output"))
    running.execute([asked])
    assert set(answer_to(asked).outputs) == {"finish_reason", "text_output"}


def assert_answered(asked: Request) -> None:
    response = answer_to(asked)
    assert response.error is None
    ids = tokenizer().encode(PROMPT).ids
    assert response.outputs["text_output"].tolist() == [greedy_text(ids, TOKENS).encode()]


def assert_refused(asked: Request, code: str, message: str) -> None:
    response = answer_to(asked)
    assert response.error.code == code
    assert response.error.message.startswith(f"{code}: ")
    assert message in response.error.message


@pytest.mark.parametrize(
    ("bad", "code", "message"),
    [
        ({"settings": '{"\\ud800": 1}'}, "INVALID_ARG", r"the parameters have \ud800"),
        ({"settings": '{"stop": ["a", "\\udc00"]}'}, "INVALID_ARG", r"the parameters have \udc00"),
        ({"settings": '{"top_k": ' + "[" * 900 + "]" * 900 + "}"}, "INVALID_ARG", "top_k must be"),
        ({"settings": '{"max_new_tokens": 1' + "0" * 4000 + "}"}, "INVALID_ARG", "max_new_tokens"),
        ({"settings": '{"temperature": 1e400}'}, "INVALID_ARG", "temperature must be"),
        ({"text": None}, "INVALID_ARG", "text_input is missing"),
        ({"text": None, "settings": None, "stream": np.array([True])}, "INVALID_ARG", "text_input is missing"),
        ({"text": b"\xff"}, "INVALID_ARG", "text_input is not UTF-8"),
        ({"text": "!"}, "INTERNAL", "index out of bounds"),
        ({"stream": np.array([], bool)}, "INTERNAL", ""),
    ],
    ids=range(10),
)
def test_a_bad_request_is_told_and_its_neighbours_are_answered(running, bad, code, message):
    """Each ends once; also where the tokenizer panics, which is no Exception."""
    before, asked, after = request(), request(**bad), request()
    running.execute([before, asked, after])
    assert_refused(asked, code, message)
    assert_answered(before)
    assert_answered(after)


@pytest.mark.parametrize("decodes", [0, 3])
@pytest.mark.parametrize("stream", [False, True])
def test_a_panic_while_a_text_is_made_ends_that_text(decodes, stream):
    """The engine goes on: what it told everyone before was that it had failed."""
    made = start(decodes)
    asked = request(stream=np.array([stream]))
    made.execute([asked])
    wait_until(lambda: asked.sender.closed)
    assert "index out of bounds" in asked.sender.sent[-1].error.message
    made.tokenizer.decodes = 10**6
    after = request()
    made.execute([after])
    assert_answered(after)
    made.finalize()


@pytest.mark.parametrize("fails", [1, 2, 3])
@pytest.mark.parametrize("settings", [GREEDY, "{"], ids=["answer", "error"])
def test_a_request_ends_although_its_response_cannot_be_sent(running, settings, fails):
    """With a plain error in the place of the response, or with nothing: else its model is never unloaded."""
    tries = 3 if settings == "{" else 4  # with the answer itself
    asked, after = request(settings=settings, fails=fails), request()
    running.execute([asked, after])
    assert_answered(after)
    if fails < tries:
        wait_until(lambda: asked.sender.closed)
    else:  # there is nothing left to try
        wait_until(lambda: asked.sender.fails == 0)


def test_a_full_queue_refuses_before_any_work():
    """The prompt is not even read, and the message says when to try again. So it is where the deadline is too near."""
    made = start(slots=1, max_queue=0)
    first, refused = request(settings='{"max_new_tokens": 40}'), [request("!") for _ in range(50)]
    made.execute([first, *refused])
    for one in refused:
        assert_refused(one, "UNAVAILABLE", "; retry after ")
    assert answer_to(first).error is None
    late = request(timeout=1)
    made.scheduler._pace.stepped(1.0)
    made.execute([request(settings='{"max_new_tokens": 40}'), late])
    assert_refused(late, "UNAVAILABLE", "; retry after ")
    made.finalize()


def test_where_a_sender_is_missing_nothing_is_queued(running):
    """Triton ends the requests of a call that raises: none of them may be answered as well."""
    asked, other = request(), request()
    asked.get_response_sender = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        running.execute([other, asked])
    assert running.scheduler.statistics().queued == 0
    assert other.sender.sent == []


def test_a_text_with_half_a_surrogate_pair_is_sent():
    """As U+FFFD: a sender that fails would end the request with an error."""
    asked = request()
    caller = module.Caller(asked, {})
    caller.send(Answer(["a\ud800b", "\0"], ["", ""], 1, [1, 1], [[1], [2]], True))
    [response] = asked.sender.sent
    assert response.outputs["text_output"].tolist() == ["a\ufffdb".encode(), b"\0"]


@pytest.mark.parametrize(
    "error", [RuntimeError("\ud800\0" * 10**6), Panic("x"), MemoryError()], ids=lambda e: type(e).__name__
)
def test_any_error_can_be_told(error):
    """What it says is made fit to be sent."""
    asked = request()
    module.Caller(asked, {}).fail(error)
    assert asked.sender.closed
    assert asked.sender.sent[0].error.message.startswith("INTERNAL: the graph failed: ")


def test_finalizing_ends_all_that_is_under_way():
    """Generating and waiting, each once, with the reason; nothing is left behind."""
    made = start(slots=1)
    asked = [request(settings='{"max_new_tokens": 30}') for _ in range(20)]
    made.execute(asked)
    made.finalize()
    assert all(one.sender.closed for one in asked)
    told = [one.sender.sent[0].error for one in asked if one.sender.sent[0].error is not None]
    assert told
    assert {error.code for error in told} == {"UNAVAILABLE"}
