"""The planner cuts batches into calls: every row once, within the limits, never worse than the simple ways."""

from hypothesis import given
from hypothesis import strategies as st

from hf2triton.triton_models.batch_planner import THREAD_TOKENS, TOGETHER, Limits, busiest, cost, plan, schedule

lengths = st.lists(st.integers(1, 300), min_size=1, max_size=40)
limits = st.builds(
    Limits,
    call_price=st.integers(0, 100),
    max_rows=st.integers(1, 40),
    max_tokens=st.integers(1, 5000),
    round_to=st.sampled_from([1, 8]),
)


@given(lengths, limits)
def test_every_row_is_in_exactly_one_group(rows, limit):
    """No text is lost and none is run twice."""
    assert sorted(index for group in plan(rows, limit) for index in group) == list(range(len(rows)))


@given(lengths, limits)
def test_limits_are_kept(rows, limit):
    """No call exceeds the rows or, unless it is a single row, the padded tokens."""
    for group in plan(rows, limit):
        longest = -(-max(rows[index] for index in group) // limit.round_to) * limit.round_to
        assert len(group) <= limit.max_rows
        assert len(group) == 1 or len(group) * longest <= limit.max_tokens


@given(lengths, limits)
def test_never_worse_than_singles(rows, limit):
    """By its own cost, a plan is at least as good as one call a text."""
    singles = [[index] for index in range(len(rows))]
    assert cost(plan(rows, limit), rows, limit) <= cost(singles, rows, limit)


@given(lengths, st.integers(0, 100))
def test_never_worse_than_one_batch(rows, price):
    """Where one batch would be allowed, a plan is at least as good."""
    limit = Limits(price, max_rows=len(rows), max_tokens=10**6)
    assert cost(plan(rows, limit), rows, limit) <= cost([list(range(len(rows)))], rows, limit)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=7), st.integers(0, 40), st.integers(1, 7))
def test_the_plan_is_the_best_of_all(rows, price, most):
    """Against every way of cutting the sorted rows, the plan's cost is the least."""
    limit = Limits(price, max_rows=most, max_tokens=10**6)
    order = sorted(range(len(rows)), key=lambda index: -rows[index])

    def cuts(start: int) -> list[list[list[int]]]:
        if start == len(order):
            return [[]]
        sizes = range(1, min(most, len(order) - start) + 1)
        return [[order[start : start + size], *rest] for size in sizes for rest in cuts(start + size)]

    assert cost(plan(rows, limit), rows, limit) == min(cost(groups, rows, limit) for groups in cuts(0))


def test_nothing_to_plan():
    """An empty batch needs no call."""
    assert plan([], Limits(16, 8, 100)) == []


@given(lengths, limits, st.integers(1, 6))
def test_a_schedule_runs_every_row_once(rows, limit, workers):
    """However the calls are run, each row is in one of them, the limits are kept, and the dearest calls come first."""
    work = schedule(rows, limit, workers)
    assert sorted(index for group in work.groups for index in group) == list(range(len(rows)))
    assert all(len(group) <= limit.max_rows for group in work.groups)
    if work.side_by_side:
        costs = [cost([group], rows, limit) for group in work.groups]
        assert costs == sorted(costs, reverse=True)


@given(lengths, limits, st.integers(1, 6))
def test_side_by_side_is_never_slower_by_estimate(rows, limit, workers):
    """Calls run side by side only where the busiest thread is done before all threads together would be."""
    work = schedule(rows, limit, workers)
    if work.side_by_side:
        costs = [cost([group], rows, limit) for group in work.groups]
        assert busiest(costs, workers) < cost(plan(rows, limit), rows, limit) / (workers * TOGETHER)


@given(st.lists(st.integers(1, 600), min_size=1, max_size=80), st.integers(1, 6))
def test_calls_of_one_thread_are_small(rows, workers):
    """Memory is bounded by tokens for each thread, however large a batch: a call has few, or it is a single row."""
    work = schedule(rows, Limits(8, 64, 1024), workers)
    most = THREAD_TOKENS if work.side_by_side else 1024
    for group in work.groups:
        assert len(group) == 1 or len(group) * max(rows[index] for index in group) <= most


def test_a_lone_text_gets_all_threads():
    """One row, or one far longer than the others, is not left to a single thread."""
    limit = Limits(8, 64, 10**5)
    assert not schedule([100], limit, 2).side_by_side
    assert not schedule([250, 4], limit, 2).side_by_side
    assert schedule([50, 48, 52, 49], limit, 2).side_by_side


@given(st.lists(st.integers(1, 100), min_size=1), st.integers(1, 8))
def test_no_thread_has_much_more_than_its_part(costs, workers):
    """The busiest thread has at least the mean load, and at most one call more than it."""
    load = busiest(sorted(costs, reverse=True), workers)
    assert sum(costs) / workers <= load <= max(costs) + sum(costs) / workers
