"""Breaks a real server in every way we know, while callers ask it all the time, and counts what they see.

    python -m tests.chaos --seconds 600 --seed 7            # make chaos
    python -m tests.chaos --only stub_killed,cut --once     # some faults, each once
    python -m tests.chaos.soak --seconds 600                # make soak: a steady load and what it leaves behind

`faults/` has one function a fault and the promise that goes with it; docs/explanation/promises.md says the same in words.
`callers.py` asks, `recorder.py` compares each answer with the one that the same version gave in a quiet state, `promises.py`
judges each error. `fuzz/` makes inputs that nobody should send; those that ever broke something are kept in `corpus/`.
"""
