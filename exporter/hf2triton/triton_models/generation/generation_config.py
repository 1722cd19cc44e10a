"""Reads a checkpoint's generation_config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

#: The settings a generation config may have; its `stop_strings` is `stop` here.
_FROM_CONFIG = (
    "max_new_tokens",
    "max_length",
    "min_new_tokens",
    "min_length",
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "num_return_sequences",
)
#: Other settings that change the text, with the values that turn them off. Null and empty lists also turn them off.
_UNSUPPORTED: Mapping[str, Any] = {
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "penalty_alpha": 0.0,
    "min_p": 0.0,
    "top_h": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "exponential_decay_length_penalty": None,
    "sequence_bias": None,
    "bad_words_ids": None,
    "force_words_ids": None,
    "constraints": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "guidance_scale": 1.0,
    "watermarking_config": None,
    "dola_layers": None,
    "remove_invalid_values": False,
    "max_time": None,
}


def settings_of(generation_config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, under this project's names and unchecked; None for missing ones.

    Raises ValueError for unsupported settings that would change the text, such as beams.
    """
    unsupported = [
        f"{name}={json.dumps(generation_config[name])[:80]}"
        for name, off in _UNSUPPORTED.items()
        if generation_config.get(name) not in (None, [], {}, off)
    ]
    if unsupported:
        raise ValueError(
            f"the checkpoint's generation config asks for {', '.join(unsupported)}, which is not supported; remove it"
            " to generate without it"
        )
    return {name: generation_config.get(name) for name in _FROM_CONFIG} | {
        "stop": generation_config.get("stop_strings")
    }


def eos_token_ids(generation_config: Mapping[str, Any]) -> tuple[int, ...]:
    """The tokens that end a text. There may be none, one or several."""
    ids = generation_config.get("eos_token_id")
    return () if ids is None else (ids,) if isinstance(ids, int) else tuple(ids)
