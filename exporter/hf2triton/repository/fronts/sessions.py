"""How sessions of onnxruntime are made."""

from __future__ import annotations

from typing import Any


def session_options(threads: int) -> Any:
    """Options with `threads` threads to a call; 0: as many as onnxruntime thinks right."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # threads that spin between calls would take the cores from tokenizing, sampling and Triton itself
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # int8 products would saturate on x86 without VNNI; elsewhere it changes nothing
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    return options
