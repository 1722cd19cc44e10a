"""When a slot becomes free, by what was measured."""

from dataclasses import dataclass

import pytest

from hf2triton.triton_models.generation.pace import Pace


@dataclass
class Text:
    tokens: int
    max_new_tokens: int


def measured(step_seconds=0.1, *texts):
    pace = Pace()
    pace.stepped(step_seconds)
    for text in texts:
        pace.ended(text)
    return pace


def test_a_free_slot_is_waited_for_by_nobody():
    """Whatever was measured."""
    assert Pace().wait([Text(0, 100)], 2) == 0.0
    assert measured().wait([], 1) == 0.0


def test_the_wait_is_what_is_left_to_generate():
    """Of those that generate and those that wait, shared by the slots. Before anything was measured it is not known."""
    ahead = [Text(60, 100), Text(0, 100), Text(0, 20)]
    assert Pace().wait(ahead, 2) is None
    assert measured(0.1).wait(ahead, 2) == pytest.approx((40 + 100 + 20) / 2 * 0.1)


def test_texts_that_end_early_make_the_wait_shorter():
    """By the share of what they might have been; one that has more already counts as about to end."""
    pace = measured(0.1, Text(50, 100))
    assert pace.wait([Text(60, 100), Text(0, 100)], 1) == pytest.approx(50 * 0.1)


def test_averages_follow_what_is_measured():
    """The first value at once, later ones little by little."""
    pace = measured(0.1)
    for _ in range(100):
        pace.stepped(0.3)
    assert pace.step_seconds == pytest.approx(0.3, rel=0.01)


def test_the_pause_is_until_those_that_generate_have_ended():
    """Within bounds, and not the same for all who are refused."""
    pace = measured(0.1)
    pauses = {pace.pause([Text(60, 100), Text(10, 20)]) for _ in range(50)}
    assert len(pauses) > 10
    assert all(3.2 <= pause <= 4.8 for pause in pauses)
    assert 0.08 <= pace.pause([]) <= 0.12
    assert pace.pause([Text(0, 10**6)]) <= 72.0
    assert 0.8 <= Pace().pause([Text(0, 10**6)]) <= 1.2
