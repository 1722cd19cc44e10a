"""Who asks the server all the time: threads, coroutines, bare HTTP, and another process. Each keeps its clients for the whole
run, as an application does, and now and then makes a new one, as an application does that starts."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from hf2triton_client import aio, connect, pipeline
from hf2triton_client.errors import ClientError
from hf2triton_client.transport.connection import Target

from .cast import GREEDY, Entry, Question, answers_of
from .promises import Call
from .raw import post
from .recorder import Recorder

#: The deadline of every call.
SECONDS = 20.0
#: The most that a caller waits between two calls.
THINKING = 0.15
#: How many of a hundred calls are made by a client that is new.
NEW = 5


class Partly(Exception):
    """A stream broke off. `partial`: what of its text had come."""

    def __init__(self, error: BaseException, partial: str) -> None:
        super().__init__(str(error))
        self.error, self.partial = error, partial


def name_of(error: BaseException) -> str:
    """The class of an error of ours, with those that it is a kind of: "GenerationInterrupted, ConnectionFailed". Of others the
    name says that they are not ours: nothing allows them."""
    kinds = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, ClientError) and kind is not ClientError]
    return ", ".join(kinds) or f"{type(error).__name__} (not of the client)"


def ask(pipe: Any, question: Question) -> list[tuple[Any, int]]:
    """The answers to a question. Raises what the client raises, within a stream Partly."""
    if question.kind != "stream":
        return answers_of(question.call(pipe))
    pieces: list[str] = []
    try:
        with question.call(pipe) as stream:
            pieces.extend(stream)  # keeps what came before an error
    except Exception as error:
        raise Partly(error, "".join(pieces)) from error
    return [("".join(pieces), stream.metadata.model_version if stream.metadata else 0)]


async def ask_async(pipe: Any, question: Question) -> list[tuple[Any, int]]:
    """The same over an asyncio pipeline."""
    if question.kind != "stream":
        return answers_of(await question.call(pipe))
    pieces: list[str] = []
    try:
        async with question.call(pipe) as stream:
            async for piece in stream:
                pieces.append(piece)  # noqa: PERF401 – those before an error count
    except Exception as error:
        raise Partly(error, "".join(pieces)) from error
    return [("".join(pieces), stream.metadata.model_version if stream.metadata else 0)]


def report(recorder: Any, call: Call, error: BaseException) -> None:
    """Tells a recorder what a call has ended in."""
    partial = error.partial if isinstance(error, Partly) else None
    cause = error.error if isinstance(error, Partly) else error
    recorder.failed(call, name_of(cause), str(cause), partial)


def call_until(
    stop: threading.Event, recorder: Any, name: str, url: str, route: str, asked: Sequence[Question], seed: Any
) -> None:
    """A blocking caller, which keeps one connection."""
    random_ = random.Random(str(seed))
    with connect(url, timeout=SECONDS) as connection:
        pipes = {model: pipeline(model=model, connection=connection) for model in sorted({one.model for one in asked})}
        while not stop.wait(random_.uniform(0, THINKING)):
            question = random_.choice(asked)
            new = random_.randrange(100) < NEW
            call = recorder.begin(f"{name}{', new' * new}", question, route, SECONDS * (1 + new))
            try:
                if new:
                    with pipeline(model=question.model, url=url, timeout=SECONDS) as pipe:
                        answers = ask(pipe, question)
                else:
                    answers = ask(pipes[question.model], question)
            except Exception as error:
                report(recorder, call, error)
            else:
                recorder.answered(call, answers)


async def call_async_until(
    stop: threading.Event, recorder: Any, name: str, pipes: dict[str, Any], asked: Sequence[Question], seed: Any
) -> None:
    """A coroutine that calls over pipelines that it shares with others."""
    random_ = random.Random(str(seed))
    while not stop.is_set():
        await asyncio.sleep(random_.uniform(0, THINKING))
        question = random_.choice(asked)
        call = recorder.begin(name, question, "direct", SECONDS)
        try:
            answers = await ask_async(pipes[question.model], question)
        except Exception as error:
            report(recorder, call, error)
        else:
            recorder.answered(call, answers)


class HttpFailed(Exception):
    """What bare HTTP answers, or that it does not."""


def http_questions(served: dict[str, Entry], http_url: str) -> list[Question]:
    """What bare HTTP asks; `call` takes a timeout."""

    def infer(frontend: str, name: str, value: str) -> Any:
        body = {
            "inputs": [{"name": name, "shape": [1, 1], "datatype": "BYTES", "data": [value]}],
            "outputs": [{"name": "logits"}],
        }
        answer = json.loads(post(f"{http_url}/v2/models/{frontend}/infer", body, SECONDS))
        return [([float(one) for one in answer["outputs"][0]["data"]], int(answer["model_version"]))]

    def generate(frontend: str, stream: bool) -> Any:
        body = {"text_input": "And when we had", "stream": stream, "sampling_parameters": json.dumps(GREEDY)}
        ending = "generate_stream" if stream else "generate"
        content = post(f"{http_url}/v2/models/{frontend}/{ending}", body, SECONDS).decode()
        lines = [line.removeprefix("data:") for line in content.splitlines() if line.strip()]
        answers = [json.loads(line) for line in lines]
        if errors := [answer["error"] for answer in answers if "error" in answer]:
            raise HttpFailed(errors[0])
        return [("".join(answer["text_output"] for answer in answers), int(answers[-1]["model_version"]))]

    found = []
    if entry := served.get("text-classification"):
        call = lambda _, frontend=entry.frontends[""]: infer(frontend, "text", "What a lovely day")  # noqa: E731
        found.append(Question(f"{entry.name} over HTTP", entry.name, "call", call))
    if entry := served.get("text-generation"):
        for stream in (False, True):
            call = lambda _, frontend=entry.frontends[""], stream=stream: generate(frontend, stream)  # noqa: E731
            name = f"{entry.name} over HTTP{', in pieces' * stream}"
            found.append(Question(name, entry.name, "generation", call))
    return found


def call_http_until(
    stop: threading.Event, recorder: Any, name: str, url: str, route: str, asked: Sequence[Question], seed: Any
) -> None:
    """A caller without a client."""
    random_ = random.Random(str(seed))
    while not stop.wait(random_.uniform(0, THINKING)):
        question = random_.choice(asked)
        call = recorder.begin(name, question, route, SECONDS)
        try:
            answers = question.call(None)
        except (OSError, http.client.HTTPException, HttpFailed, ValueError, LookupError) as error:
            recorder.failed(call, "HTTPFailed", f"{type(error).__name__}: {error}")
        else:
            recorder.answered(call, answers)


class Crew:
    """All callers. Their threads are daemons: one that hangs must not keep the process from its end."""

    def __init__(self, recorder: Recorder, seed: int) -> None:
        self._recorder = recorder
        self._seed = seed
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._children: list[subprocess.Popen] = []

    def blocking(self, count: int, url: str, route: str, asked: Sequence[Question], run: Any = call_until) -> None:
        """Threads that call."""
        for index in range(count):
            name = f"thread {route} {index}"
            self._start(run, self._stop, self._recorder, name, url, route, asked, f"{self._seed} {name}")

    def coroutines(self, count: int, url: str, asked: Sequence[Question]) -> None:
        """Coroutines of one event loop, over one connection."""
        self._start(lambda: asyncio.run(self._coroutines(count, url, asked)))

    async def _coroutines(self, count: int, url: str, asked: Sequence[Question]) -> None:
        connection = aio.AsyncConnection(Target(url, SECONDS), count)
        pipes = {
            model: await aio.pipeline(model=model, connection=connection)
            for model in sorted({one.model for one in asked})
        }
        names = [f"coroutine {index}" for index in range(count)]
        calls = [
            call_async_until(self._stop, self._recorder, name, pipes, asked, f"{self._seed} {name}") for name in names
        ]
        await asyncio.gather(*calls)
        await connection.close()

    def process(self, repository: str, url: str, *arguments: str) -> subprocess.Popen:
        """A child that calls, or that does something to its clients meanwhile (`remote.py`), and what it says is recorded."""
        command = [sys.executable, "-m", "tests.chaos.remote", repository, url, str(self._seed), *arguments]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._children.append(child)
        self._start(follow, child, self._recorder)
        return child

    def stop(self, patience: float) -> None:
        """Lets the calls under way end."""
        self._stop.set()
        for child in self._children:
            child.stdin.close()
        for thread in self._threads:
            thread.join(max(patience, 0.0))
            patience = 0.5 if thread.is_alive() else patience
        for child in self._children:
            child.kill()
            child.wait()

    def _start(self, run: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()


def follow(child: subprocess.Popen, recorder: Recorder) -> None:
    """Records what a child says of its calls, one JSON object a line. Its clock is ours: CLOCK_MONOTONIC is the machine's."""
    calls: dict[int, Call] = {}
    for line in child.stdout:
        said = json.loads(line)
        match said.pop("event"):
            case "begin":
                question = Question(said["question"], said["model"], said["kind"], lambda _: None)
                calls[said["number"]] = recorder.begin(
                    said["caller"], question, said["route"], said["seconds"], said["at"]
                )
            case "answered":
                answers = [(value, version) for value, version in said["answers"]]
                recorder.answered(calls.pop(said["number"]), answers, said["at"])
            case "failed":
                call = calls.pop(said["number"])
                recorder.failed(call, said["error"], said["text"], said["partial"], said["at"])
            case "broken":
                recorder.broken(said["fault"], said["text"])
