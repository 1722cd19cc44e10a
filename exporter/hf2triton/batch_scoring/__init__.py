"""Large sets, scored offline by a served model: every row once, in order, however often the run is stopped.

    input ─cut→ shards ─ask, batch by batch→ answers ─write→ a file a shard ─join→ OUTPUT

`inputs.py` cuts and reads (`parquet_input.py` what is Parquet), `forms.py` says what a row is asked and what an answer looks
like, `asking.py` asks, `shards.py` writes and joins, `plan.py` keeps what a run is of, `run.py` puts them together;
`cluster.py` has Ray score the shards.
"""

from __future__ import annotations

from .options import ScoreOptions
from .run import Summary, score

__all__ = ["ScoreOptions", "Summary", "score"]
