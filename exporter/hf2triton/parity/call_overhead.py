"""What one more call of a graph costs, in tokens of padding: what the frontend's planner weighs padding against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: On a CPU a price beyond this is a disturbance of the measurement.
MOST_ON_CPU = 256
#: A whole call's worth: beyond it nothing would be split.
MOST_ON_GPU = 1 << 14


def fit_call_overhead(sizes: Sequence[int], seconds: Sequence[float], most: int) -> int:
    """The price, of calls of `sizes` tokens (padding included) that took so many `seconds`.

    Fits `time = a + b · tokens`; the price is a / b, kept between 0 and `most` and rounded to 4, so that small disturbances do
    not change it. Where time does not grow with the tokens it is `most`.
    """
    # relative errors count: small calls are what the price is about
    per_token, per_call = np.polyfit(sizes, seconds, 1, w=1 / np.array(seconds))
    price = per_call / per_token if per_token > 0 else most
    return int(np.clip(round(price / 4) * 4, 0, most))
