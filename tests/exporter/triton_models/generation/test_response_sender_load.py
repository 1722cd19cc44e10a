"""Many requests at once: everyone has what is its own, and nothing is left."""

import gc
import random
import threading
import time
import weakref

import pytest

from hf2triton.triton_models.generation import response_sender as sender
from hf2triton.triton_models.generation.scheduler import QueueFull

from .callers import Broken, broken, make_engine
from .listeners import PATIENCE, SAMPLED, FailingTokenizer, Listener, Service, ask_patiently, make_exchange, service
from .tiny_decoder import MAX_LENGTH, PROMPTS, alone


def test_two_hundred_requests_at_once():
    """From eight threads, streamed and whole, some with several sequences, callers who go away, block or fail: everyone
    has the answer that is its own, and one end."""
    asked = []

    def ask(seed):
        random_ = random.Random(seed)
        for _ in range(25):
            prompt, count = random_.choice(PROMPTS), random_.randint(1, 8)
            kind = random_.choice(("whole", "stream", "several", "leaver", "failing", "slow", "undecodable"))
            options = {"stream": kind in ("stream", "failing", "slow", "leaver")}
            listener = Listener()
            if kind == "several":
                options |= {"num_return_sequences": 3, **SAMPLED}
            elif kind == "failing":
                listener.sending = broken
            elif kind == "slow":
                listener.sending = lambda answer: time.sleep(0.002)
            elif kind == "undecodable":
                options["decodes"] = FailingTokenizer(0)
            ask_patiently(running, listener, prompt, count, **options)
            if kind == "leaver":
                listener.left.set()
            asked.append((kind, listener, prompt, count))

    with service(slots=4, max_queue=8) as running:
        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        for kind, listener, _, _ in asked:
            assert listener.ended.wait(PATIENCE), kind
    assert len(asked) == 200
    for kind, listener, prompt, count in asked:
        if kind in ("failing", "undecodable"):
            assert isinstance(listener.ending, Broken)
        elif kind == "several":
            assert listener.ending == "answer"
            assert listener.answers[0].counts == [min(count, MAX_LENGTH - len(prompt) + 1)] * 3
        elif kind == "leaver":
            assert listener.ending in ("answer", "closed")
            assert listener.token_ids == alone(prompt, count)[: len(listener.token_ids)]
        else:
            listener.assert_whole(prompt, count)


@pytest.mark.parametrize("seed", range(4))
def test_stopping_while_everyone_asks(seed):
    """Engine and outbox stop while threads go on asking: who was taken has one end, who was refused an error and no end."""
    asked, refused = [], []
    running = Service(make_engine(slots=2, max_queue=3))

    def ask(start):
        for n in range(start, start + 10**5):
            listener = Listener()
            try:
                running.ask(listener, PROMPTS[n % 8], 4, stream=n % 2 == 0)
            except QueueFull:
                continue
            except RuntimeError as error:
                refused.append((str(error), listener))
                return
            if n % 3 == 0:
                listener.left.set()
            asked.append(listener)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    running.scheduler.start()
    running.sender.start()
    for thread in threads:
        thread.start()
    time.sleep(0.05 + 0.02 * seed)
    running.stop()
    for thread in threads:
        thread.join(PATIENCE)
    assert [error for error, _ in refused] == ["the scheduler has stopped"] * 4
    assert [listener.endings for _, listener in refused] == [[]] * 4
    assert asked
    for listener in asked:
        assert listener.ending in ("answer", "closed") or "stopped" in str(listener.ending)


def test_exchanges_are_kept_no_longer_than_needed(monkeypatch):
    """What was answered, refused or has failed can be collected, but for the very last ones, which idle threads still name."""
    monkeypatch.setattr(
        sender.logger, "disabled", True
    )  # pytest keeps all records, and with them the errors and their frames
    kept = []
    with service(slots=2, max_queue=3) as running:
        for n in range(12):
            options = ({}, {"stream": True}, {"decodes": FailingTokenizer(0)})[n % 3]
            listener = Listener()
            kept.append(weakref.ref(ask_patiently(running, listener, PROMPTS[0], 4, **options)))
            assert listener.ended.wait(PATIENCE)
            refused = make_exchange(PROMPTS[0], 4, changed=running.sender.put, num_return_sequences=99, **SAMPLED)
            kept.append(weakref.ref(refused))
            with pytest.raises(QueueFull):
                running.sender.submit(refused, listener)
            del refused
        assert running.sender._callers == {}
        gc.collect()
        assert sum(reference() is not None for reference in kept) <= 4
