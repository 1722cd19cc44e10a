"""Scores large data sets offline with a served model: every row once, in order, however often the run is stopped.

    input ─cut→ shards ─ask, batch by batch→ answers ─write→ a file per shard ─join→ OUTPUT

`inputs.py` cuts and reads (`parquet_input.py` handles Parquet), `task_schemas.py` defines the question for a row and the form
of an answer, `batch_client.py` asks, `shards.py` writes and joins, `plan.py` records what a run scores, `run.py` combines them.
`cluster.py` lets Ray score the shards.
"""

from __future__ import annotations

from .options import ScoreOptions
from .run import Summary, score

__all__ = ["ScoreOptions", "Summary", "score"]
