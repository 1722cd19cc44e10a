"""The cost of one more call of a graph, in tokens of padding: the frontend's planner weighs padding against it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: On a CPU, a higher overhead means that the measurement was disturbed.
MOST_ON_CPU = 256
#: As many tokens as a whole call: with more, the planner would split nothing.
MOST_ON_GPU = 1 << 14


def fit_call_overhead(sizes: Sequence[int], seconds: Sequence[float], most: int) -> int:
    """The overhead of a call in tokens, from calls of `sizes` tokens (padding included) that took `seconds` each.

    Fits `time = a + b · tokens`; the overhead is a / b, limited to 0 … `most` and rounded to a multiple of 4, which absorbs small
    disturbances. If time does not grow with the tokens, it is `most`.
    """
    # minimise relative errors: the overhead shows in small calls
    per_token, per_call = np.polyfit(sizes, seconds, 1, w=1 / np.array(seconds))
    overhead = per_call / per_token if per_token > 0 else most
    return int(np.clip(round(overhead / 4) * 4, 0, most))
