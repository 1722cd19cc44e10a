"""Rows at the limits of a graph: rows of one and two tokens, fully masked rows, and these beside rows of full length.

They are not compared with PyTorch: their outputs must be the same as when they run alone, without NaN or infinity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf2triton_client.evaluation.compare import Tolerance, compare, finite
from hf2triton_client.evaluation.places import Places, axes_of

from ..core.types import Graph, GraphOutput, ParityCheck
from ..triton_models.executors import Feeds

#: Numbers of tokens in a short row.
SHORT = (1, 2)


def edge_checks(
    session: Any,
    graph: Graph,
    longest: Feeds,
    tolerances: Mapping[str, Tolerance],
    prefix: str = "",
    places: Mapping[str, Places] | None = None,
) -> Iterator[ParityCheck]:
    """The checks of a graph whose rows have a free length. `longest`: the inputs of the longest row. `places`: what the values of
    each output stand for."""
    axes = {value.name: value.dims.index("sequence") for value in graph.inputs if "sequence" in value.dims}
    if not axes:
        return
    names = [output.name for output in graph.outputs]

    def run(feeds: Feeds) -> dict[str, NDArray[Any]]:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    for tokens in SHORT:
        short = {name: _cut(array, axes.get(name), tokens) for name, array in longest.items()}
        alone, together = run(short), run(_stacked(longest, short))
        again = run(short)  # after other calls
        for output in graph.outputs:
            own = _own(output, alone[output.name][0], tokens)
            others = [_own(output, array, tokens) for array in (together[output.name][1], again[output.name][0])]
            count = f"{tokens} {'token' if tokens == 1 else 'tokens'}"
            # beside the longest row, the short row is the second
            where = _placed(places, output, f"the first {count} of {{}}", rows=(1, 0))
            pairs = [(own, other) for other in others]
            difference = compare(output.name, pairs, tolerances[output.name], where)
            yield ParityCheck(f"{prefix}a row of {count}, alone, beside the longest, and again", difference)
    masked = {**longest, "attention_mask": np.zeros_like(longest["attention_mask"])}
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
    """What the pairs stand for of a row that was `made` from the longest one. `rows`: the row of each pair in its batch."""
    own = (places or {}).get(output.name) or Places(
        describe=lambda item: "the longest input", axes=axes_of(output.name, output.per, {})
    )
    return replace(
        own,
        describe=lambda item: made.format(own.describe(item)),
        row=lambda pair, index: rows[pair],
        reference="alone",
    )


def _cut(array: NDArray[Any], axis: int | None, tokens: int) -> NDArray[Any]:
    """A row's first tokens; for `mask_positions`, which has no token axis, the first position."""
    return np.zeros_like(array[:, :1]) if axis is None else array[:, :tokens]


def _stacked(one: Feeds, other: Feeds) -> dict[str, NDArray[Any]]:
    """Two rows in one call, the shorter padded on the right."""
    stacked = {}
    for name in one:
        width = max(one[name].shape[1], other[name].shape[1])
        padded = [np.pad(array, ((0, 0), (0, width - array.shape[1]))) for array in (one[name], other[name])]
        stacked[name] = np.concatenate(padded)
    return stacked


def _own(output: GraphOutput, array: NDArray[Any], tokens: int) -> NDArray[Any]:
    """A row's output without padding: its tokens, or its single mask."""
    return array if output.per == "row" else array[: tokens if output.per == "token" else 1]
