"""`hf2triton bench`: contenders side by side, each in a process of its own, interleaved.

    options ─plan→ groups of jobs ─a child process for each job and round→ samples ─medians→ Benchmark

`run.py` reads like that; `contenders.py` is the table of who can take part.
"""
