"""The search for the smallest set that passes: exact where more never hurts, and within its budget where it is cut short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf2triton.graph.precision.search import smallest_set

ORDERS = st.integers(1, 40).flatmap(lambda count: st.permutations(range(count)))


class Asked:
    """A test that passes for sets with all of one of `families` in them, and remembers what it was asked."""

    def __init__(self, *families):
        self.families = [frozenset(family) for family in families]
        self.asked = []

    def __call__(self, items):
        self.asked.append(list(items))
        return any(family <= set(items) for family in self.families)


@given(ORDERS, st.data())
def test_what_is_needed_is_found_whatever_the_order(order, data):
    """One hidden set: the result is that set, in the order of the candidates."""
    needed = data.draw(st.sets(st.sampled_from(order)))
    assert smallest_set(order, Asked(needed), tries=10_000) == [item for item in order if item in needed]


@given(ORDERS, st.data())
def test_of_several_ways_one_is_found_that_cannot_be_shortened(order, data):
    """Several hidden sets: the result holds one of them, and without any of its items it fails."""
    subsets = st.sets(st.sampled_from(order), min_size=1)
    passes = Asked(*data.draw(st.lists(subsets, min_size=1, max_size=5)))
    found = smallest_set(order, passes, tries=10_000)
    assert passes(found)
    assert found == [item for item in order if item in found]
    for item in found:
        assert not passes([other for other in found if other != item])


@given(ORDERS, st.integers(1, 40))
def test_any_few_of_them(order, count):
    """Where a number of items counts, whichever they are, the first ones are taken."""
    count = min(count, len(order))
    assert smallest_set(order, lambda items: len(items) >= count, tries=10_000) == list(order[:count])


@given(ORDERS)
def test_nothing_helps(order):
    """None where all candidates together fail, after one try."""
    passes = Asked()
    assert smallest_set(order, passes) is None
    assert passes.asked == [list(order)]


@pytest.mark.parametrize("candidates", [[], [1], [1, 2, 3]])
def test_nothing_is_needed(candidates):
    """The empty set where that passes."""
    assert smallest_set(candidates, Asked(())) == []


def test_no_candidates_and_a_failure():
    """Without candidates there is nothing to find."""
    assert smallest_set([], Asked()) is None


@given(ORDERS, st.data(), st.integers(1, 60))
def test_the_budget_is_kept(order, data, tries):
    """It asks no more often than it may, and what it gives passes all the same."""
    passes = Asked(data.draw(st.sets(st.sampled_from(order))))
    found = smallest_set(order, passes, tries)
    assert len(passes.asked) <= tries
    assert passes(found)


@given(ORDERS, st.data(), st.integers(1, 60))
def test_the_same_question_has_the_same_answer(order, data, tries):
    """Twice the same: the tries, their order and the result."""
    needed = data.draw(st.sets(st.sampled_from(order)))
    first, second = Asked(needed), Asked(needed)
    assert smallest_set(order, first, tries) == smallest_set(order, second, tries)
    assert first.asked == second.asked


def test_likely_candidates_first_cost_few_tries():
    """Three needed of a thousand are found in under 30 tries where they come first."""
    passes = Asked({0, 1, 2})
    assert smallest_set(range(1000), passes) == [0, 1, 2]
    assert len(passes.asked) < 30


def test_the_candidates_stay_as_they_are():
    """The list that is handed over is not changed, nor is what is asked shared with it."""
    candidates = [3, 1, 2]

    def passes(items):
        found = {1, 2} <= set(items)
        items.clear()
        return found

    smallest_set(candidates, passes)
    assert candidates == [3, 1, 2]
