"""Several reports together: what becomes one, what is compared, and what counts as slower or worse."""

import math
from dataclasses import replace

import pytest

from hf2triton_client.report.comparison import GROWTH, LOSS, STEPS, combine, missing, slower, worse
from hf2triton_client.report.tables import figures_table

from ..reports import MACHINE, bad, benchmark, good, report


def run(validation=None, factor=None, **changes):
    """A report with a validation and a benchmark that takes `factor` times as long, either of which may be left out."""
    validations = () if validation is None else (validation,)
    benchmarks = () if factor is None else (benchmark(factor, **changes.pop("measured", {})),)
    return report(validations=validations, benchmarks=benchmarks, **changes)


def ratios(comparison):
    """How many times as long each call takes in the later run."""
    return [after.measurement.p50_ms / before.measurement.p50_ms for before, after in comparison.measurements]


def with_difference(validation, **changes):
    """The validation with other figures in its first check."""
    first, *others = validation.checks
    (found,) = first.differences
    return replace(validation, checks=(replace(first, differences=(replace(found, **changes),)), *others))


def test_different_things_become_one_report():
    """A validation, a benchmark and another model's validation are one report; nothing is compared."""
    together, comparison = combine([run(good()), run(None, 1.0), run(bad())])
    assert together.validations == (good(), bad())
    assert together.benchmarks == (benchmark(),)
    assert not comparison


def test_the_same_in_two_files_is_compared():
    """Validations of one model and measurements of one contender and load are pairs, in the order of the files."""
    together, comparison = combine([run(good(), 1.0), run(good(), 1.5)])
    assert together.benchmarks == (benchmark(1.5),)
    assert ratios(comparison) == pytest.approx([1.5] * 12)
    assert comparison.validations == ((good(), good()),)
    assert (comparison.lost, comparison.new, comparison.alone, comparison.notes) == ((), (), (), ())


def test_of_three_the_last_two_are_compared():
    """The report holds the last, beside the one before it."""
    together, comparison = combine([run(None, 1.0), run(None, 4.0), run(None, 2.0)])
    assert together.benchmarks == (benchmark(2.0),)
    assert ratios(comparison) == pytest.approx([0.5] * 12)


def test_figures_of_two_runs_stand_apart():
    """What was measured in another run is no rival: it has tables of its own, and a note says when and where it was measured."""
    made = benchmark()
    parts = [
        replace(
            made,
            contenders=(made.contenders[place],),
            measurements=tuple(replace(one, contender=0) for one in made.measurements if one.contender == place),
        )
        for place in (0, 1)
    ]
    monday = replace(MACHINE, cpu="Another CPU")
    earlier = report(validations=(), benchmarks=parts[:1], machine=monday, created_at="2026-09-07T10:00:00+00:00")
    together, comparison = combine([earlier, report(validations=(), benchmarks=parts[1:])])
    assert together.benchmarks == tuple(parts)
    assert comparison.notes == ("the speed of sentiment is from an earlier run, 2026-09-07 10:00 UTC, on Another CPU",)
    assert not [row for row in figures_table(together).rows if "as fast as PyTorch" in row[2]]
    assert [row for row in figures_table(report(validations=())).rows if "as fast as PyTorch" in row[2]]


def test_loads_that_were_measured_apart_are_all_there():
    """A contender that two files measured under different loads has both."""
    files = [run(None, 1.0, measured={"concurrencies": own}) for own in ((1,), (8, 32))]
    together, comparison = combine(files)
    assert together.benchmarks == tuple(benchmark(concurrencies=own) for own in ((1,), (8, 32)))
    assert not comparison


@pytest.mark.parametrize(("factor", "found"), [(1.0, 0), (1.09, 0), (1.12, 9), (0.5, 0)])
def test_slower_is_told_of_what_is_served(factor, found):
    """Each load of the three served contenders that is slower by more than allowed is one sentence; PyTorch's are none."""
    _, comparison = combine([run(None, 1.0), run(None, factor)])
    sentences = slower(comparison, 0.10)
    assert len(sentences) == found
    assert not [sentence for sentence in sentences if "PyTorch" in sentence]


def test_slower_says_what_and_by_how_much():
    """Contender, load, both figures and the change."""
    _, comparison = combine([run(None, 1.0), run(None, 1.5)])
    assert slower(comparison, 0.10)[0] == (
        "Triton, gRPC (sentiment, fp32), 1 a call, 1 in flight:"
        " p50 9.80 → 14.7 ms (+50%), throughput 102 → 68.0 items/s (−33%)"
    )


def test_fewer_tokens_or_no_figure_are_slower():
    """Models that generate are judged by their tokens as well; a figure that is not a number is no pass."""
    made = benchmark()
    first = replace(made.measurements[3], tokens_per_second=100.0)
    for later in (replace(first, tokens_per_second=80.0), replace(first, p50_ms=math.nan)):
        before, after = (
            report(validations=(), benchmarks=(replace(made, measurements=(one,)),)) for one in (first, later)
        )
        assert len(slower(combine([before, after])[1], 0.10)) == 1


def test_what_was_lost_is_missing_and_what_is_new_is_not():
    """A load that only the earlier run has is an error to whoever asks for speed; one that only the later has is told."""
    few, many = ({"concurrencies": own} for own in ((1, 8), (1, 8, 32)))
    together, lost = combine([run(None, 1.0, measured=many), run(None, 1.0, measured=few)])
    assert len(lost.lost) == 4
    assert together.benchmarks == (benchmark(concurrencies=(1, 8)),)
    sentences = missing(lost, measurements=True)
    assert len(sentences) == 3
    assert sentences[0] == ("the later run did not measure Triton, gRPC (sentiment, fp32), 1 a call, 32 in flight")
    _, new = combine([run(None, 1.0, measured=few), run(None, 1.0, measured=many)])
    assert (len(new.lost), len(new.new), missing(new, measurements=True)) == (0, 4, [])


def test_a_missing_counterpart_is_told():
    """Nothing to compare with is said of each kind that was asked for, and only of those."""
    _, nothing = combine([run(good()), run(None, 1.0)])
    assert missing(nothing) == []
    assert len(missing(nothing, measurements=True)) == 9
    assert missing(nothing, validations=True) == ["only one file holds the validation of sentiment"]
    _, alone = combine([run(good()), run(good())])
    assert missing(alone, measurements=True) == ["no two files hold the same measurement of a served model"]
    assert missing(alone, validations=True) == []
    _, speeds = combine([run(None, 1.0), run(None, 1.0)])
    assert missing(speeds, validations=True) == ["no two files hold a validation of the same model"]


def test_a_check_that_fails_now_is_worse():
    """What passed before and does not now is told with the breach; what failed already is not told again."""
    failing = with_difference(good(), breaches=("cosine 0.9 is below 0.99",))
    assert worse(combine([run(good()), run(failing)])[1]) == [
        "sentiment, one item a request, logits: it passed before, and now cosine 0.9 is below 0.99"
    ]
    assert worse(combine([run(failing), run(failing)])[1]) == []
    assert worse(combine([run(failing), run(good())])[1]) == []


@pytest.mark.parametrize("precision", STEPS)
def test_a_difference_is_worse_when_it_grew_beyond_noise(precision):
    """It must grow by both a share of itself and what the precision's kernels may differ by."""
    before = with_difference(replace(good(), precision=precision), max_abs=10 * STEPS[precision])
    for largest, expected in (
        (before.checks[0].differences[0].max_abs * GROWTH * 1.01, 1),
        (before.checks[0].differences[0].max_abs * GROWTH * 0.99, 0),
        (math.nan, 1),
        (math.inf, 1),
        (0.0, 0),
    ):
        assert len(worse(combine([run(before), run(with_difference(before, max_abs=largest))])[1])) == expected
    exact = with_difference(before, max_abs=0.0)
    for largest, expected in ((STEPS[precision] * 0.99, 0), (STEPS[precision] * 1.01, 1)):
        assert len(worse(combine([run(exact), run(with_difference(before, max_abs=largest))])[1])) == expected


def test_fewer_best_answers_are_worse():
    """A smaller share of rows whose best answer is PyTorch's is told."""
    fewer = with_difference(good(), argmax=0.97)
    assert worse(combine([run(good()), run(fewer)])[1]) == [
        "sentiment, one item a request, logits: same best answers 100.0% → 97.0%"
    ]


@pytest.mark.parametrize("higher", [True, False])
def test_a_score_that_fell_is_worse(higher):
    """In its own direction, by more than the last digits; NaN is worse than any number, and no score at all is worse too."""
    sign = -1 if higher else 1
    score = replace(good().scores[0], served=0.9, higher_is_better=higher)
    before = replace(good(), scores=(score,))
    for change, expected in ((0.9 * LOSS * 1.1, 1), (0.9 * LOSS * 0.9, 0), (-0.05, 0), (math.nan, 1)):
        after = replace(good(), scores=(replace(score, served=0.9 + sign * change),))
        assert len(worse(combine([run(before), run(after)])[1])) == expected
    assert worse(combine([run(before), run(replace(good(), scores=()))])[1]) == [
        "sentiment: accuracy was scored before and is not any more"
    ]


def test_a_check_that_is_gone_is_worse():
    """A check that nobody makes any more cannot pass."""
    fewer = replace(good(), checks=good().checks[:-1])
    (sentence,) = worse(combine([run(good()), run(fewer)])[1])
    assert sentence.endswith("in reverse order, logits: it was checked before and is not any more")


def test_a_score_that_is_not_compared_any_more_is_worse():
    """Its value may be as before; whether PyTorch's is as good is not known."""
    after = replace(good(), scores=tuple(replace(one, pytorch=None) for one in good().scores))
    assert worse(combine([run(good()), run(after)])[1]) == [
        f"sentiment: {name} was compared with PyTorch's before and is not any more" for name in ("accuracy", "F1")
    ]
    assert worse(combine([run(after), run(after)])[1]) == []


def test_other_machines_are_noted():
    """Another CPU, other cores or another version of a package are said, and that times of two machines do not compare."""
    other = replace(MACHINE, cpu="Another CPU", packages={**MACHINE.packages, "onnxruntime": "1.33.0"})
    _, comparison = combine([run(None, 1.0), run(None, 1.0, machine=other)])
    assert comparison.notes == (
        "the runs were made on different machines: their times cannot be compared",
        "the runs differ in CPU: A CPU of 2024 @ 2.60GHz → Another CPU",
        "the runs differ in onnxruntime: 1.32.0 → 1.33.0",
    )
