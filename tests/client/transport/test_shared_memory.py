"""Calls through shared memory: same answers, and nothing left behind."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from hf2triton_client import AccessDenied, InputError, connect
from hf2triton_client.transport.served_model import ServedModel
from hf2triton_client.transport.shared_memory import SharedMemoryCaller

from ...support import TEXTS

BATCHES = [{"text": TEXTS[:1]}, {"text": TEXTS[:5]}, {"text": TEXTS[5:]}]


def regions():
    """Those of clients that lie in the machine's shared memory."""
    return sorted(path.name for path in Path("/dev/shm").glob("hf2triton-client-*"))


@pytest.fixture
def connection(measured):
    before = regions()
    with connect(measured.url) as connection:
        yield connection
    assert regions() == before


@pytest.fixture
def model(connection):
    return ServedModel.from_config(connection.model_config("sentiment"))


def registered(connection):
    """What the server knows of."""
    with triton.InferenceServerClient(connection.target.url) as client:
        return client.get_system_shared_memory_status(as_json=True).get("regions", {})


def test_answers_are_those_of_plain_grpc(connection, model):
    """Batches of different sizes get through shared memory what they get in messages, to the bit, from several threads."""
    expected = []
    for batch in BATCHES:
        [request] = model.requests(batch, ["logits"], 64)
        expected.append(connection.infer(request).as_numpy("logits"))
    with SharedMemoryCaller(connection, model, BATCHES, ["logits"], callers=3) as call, ThreadPoolExecutor(6) as pool:
        assert len(regions()) == len(registered(connection)) == 4
        asked = [0, 1, 2] * 20
        for index, answer in zip(asked, pool.map(call, asked), strict=True):
            np.testing.assert_array_equal(answer["logits"], expected[index])
    assert registered(connection) == {}


def test_nothing_is_left_after_an_error(connection, model):
    """Regions go when the block ends in an error, and when it is not even entered."""
    with pytest.raises(RuntimeError), SharedMemoryCaller(connection, model, BATCHES, ["logits"], callers=2):
        raise RuntimeError
    with pytest.raises(InputError), SharedMemoryCaller(connection, model, BATCHES, ["no such output"], callers=2):
        pass
    assert registered(connection) == {}


def test_a_failing_call_does_not_use_up_a_place(connection, model):
    """A call that fails gives its region back: the next one does not wait for ever."""
    with SharedMemoryCaller(connection, model, BATCHES, ["logits"], callers=1) as call:
        for _ in range(3):
            with pytest.raises(IndexError):
                call(len(BATCHES))
        assert call(0)["logits"].shape == (1, 3)


def test_a_region_that_the_server_still_uses_is_asked_for_again(connection, model, monkeypatch):
    """Triton may use a region for a moment after its answer and then refuses to unregister it, which is no failure."""
    with SharedMemoryCaller(connection, model, BATCHES, ["logits"], callers=1) as call:
        real, refusals = call._client.unregister_system_shared_memory, []

        def refuses_twice(name, **arguments):
            if len(refusals) < 2:
                refusals.append(name)
                raise InferenceServerException(
                    f"Cannot unregister shared memory region '{name}', it is currently in use."
                )
            return real(name, **arguments)

        monkeypatch.setattr(call._client, "unregister_system_shared_memory", refuses_twice)
    assert len(refusals) == 2
    assert registered(connection) == {}


def test_a_server_that_allows_no_regions_is_an_error(tmp_path, measured):
    """The embedded server allows them only when it is told to; nothing is left of the attempt."""
    from hf2triton.serving import Server

    before = regions()
    with Server(measured.repository) as server, connect(server.url) as connection:
        model = ServedModel.from_config(connection.model_config("sentiment"))
        with (
            pytest.raises(AccessDenied, match="lets only those do this who send its key"),
            SharedMemoryCaller(connection, model, BATCHES, ["logits"], callers=1),
        ):
            pass
    assert regions() == before
