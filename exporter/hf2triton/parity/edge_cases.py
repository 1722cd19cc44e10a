"""Rows at the edge of what a graph takes: of one and two tokens, wholly masked, and beside rows of full length.

PyTorch is not asked for them: they must give what they give alone, and no NaN and no infinity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hf2triton_client.evaluation.compare import Tolerance, compare, finite
from hf2triton_client.evaluation.places import Places, axes_of

from ..core.types import Graph, GraphOutput, ParityCheck

#: Tokens of a short row.
SHORT = (1, 2)
Feeds = Mapping[str, np.ndarray]


def edge_checks(
    session: Any,
    graph: Graph,
    longest: Feeds,
    tolerances: Mapping[str, Tolerance],
    prefix: str = "",
    places: Mapping[str, Places] | None = None,
) -> Iterator[ParityCheck]:
    """The checks of a graph whose rows have a free length. `longest`: the inputs of one row, the longest there is. `places`: of
    this row, of each output."""
    axes = {value.name: value.dims.index("sequence") for value in graph.inputs if "sequence" in value.dims}
    if not axes:
        return
    names = [output.name for output in graph.outputs]

    def run(feeds: Feeds) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    for tokens in SHORT:
        short = {name: _cut(array, axes.get(name), tokens) for name, array in longest.items()}
        alone, together = run(short), run(_stacked(longest, short))
        # once more, after the others
        again = run(short)
        for output in graph.outputs:
            own = _own(output, alone[output.name][0], tokens)
            others = [_own(output, array, tokens) for array in (together[output.name][1], again[output.name][0])]
            count = f"{tokens} {'token' if tokens == 1 else 'tokens'}"
            # beside the longest it is the second row
            where = _placed(places, output, f"the first {count} of {{}}", rows=(1, 0))
            pairs = [(own, other) for other in others]
            difference = compare(output.name, pairs, tolerances[output.name], where)
            yield ParityCheck(f"{prefix}a row of {count}, alone, beside the longest, and again", difference)
    masked = longest | {"attention_mask": np.zeros_like(longest["attention_mask"])}
    alone, together = run(longest), run(_stacked(masked, longest))
    for output in graph.outputs:
        where = _placed(places, output, "{}, wholly masked", rows=(0,))
        difference = finite(output.name, [together[output.name][:1]], where)
        yield ParityCheck(f"{prefix}a row that is wholly masked", difference)
        pairs = [(alone[output.name][0], together[output.name][1])]
        where = _placed(places, output, "{}", rows=(1,))
        difference = compare(output.name, pairs, tolerances[output.name], where)
        yield ParityCheck(f"{prefix}the longest row beside one that is wholly masked", difference)


def _placed(places: Mapping[str, Places] | None, output: GraphOutput, made: str, rows: Sequence[int]) -> Places:
    """What pairs of a row stand for that was `made` of the longest one; `rows`: of their batches."""
    own = (places or {}).get(output.name) or Places(
        describe=lambda item: "the longest input", axes=axes_of(output.name, output.per, {})
    )
    return replace(
        own,
        describe=lambda item: made.format(own.describe(item)),
        row=lambda pair, index: rows[pair],
        reference="alone",
    )


def _cut(array: np.ndarray, axis: int | None, tokens: int) -> np.ndarray:
    """A row's first tokens; of `mask_positions`, which have no such axis, the first position."""
    return np.zeros_like(array[:, :1]) if axis is None else array[:, :tokens]


def _stacked(one: Feeds, other: Feeds) -> dict[str, np.ndarray]:
    """Two rows in one call, the shorter padded on the right."""
    stacked = {}
    for name in one:
        width = max(one[name].shape[1], other[name].shape[1])
        padded = [np.pad(array, ((0, 0), (0, width - array.shape[1]))) for array in (one[name], other[name])]
        stacked[name] = np.concatenate(padded)
    return stacked


def _own(output: GraphOutput, array: np.ndarray, tokens: int) -> np.ndarray:
    """What of a row's output is its own: its tokens, or its one mask."""
    return array if output.per == "row" else array[: tokens if output.per == "token" else 1]
