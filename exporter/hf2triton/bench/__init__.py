"""`hf2triton bench`: compares contenders, each in its own process, interleaved.

    options ─plan→ groups of jobs ─a child process for each job and round→ samples ─medians→ Benchmark

`run.py` follows these steps; `contenders.py` is the table of possible contenders.
"""
