"""Scores an input and prints the most memory that it took, in MB: `bounded.py URL INPUT OUTPUT`."""

import sys
from pathlib import Path

from hf2triton.batch_scoring import ScoreOptions, score

score(ScoreOptions("sentiment", Path(sys.argv[2]), Path(sys.argv[3]), keep=("payload",), shard_size=500), sys.argv[1])
# not getrusage, which knows of the process that this one was forked from
[peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(int(peak) * 1024 / 1e6)
