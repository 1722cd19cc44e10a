"""The `genai_config.json` that lets onnxruntime-genai run an exported decoder, as an independent reader of our graph.

Format: https://onnxruntime.ai/docs/genai/reference/config.html. Most settings in its `search` have the same names as in
transformers' generation config.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..checkpoint.parts import generation_config_of
from ..core.types import Checkpoint, StoredGraph

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedConfig

#: The file that onnxruntime-genai looks for beside the graph.
GENAI_CONFIG = "genai_config.json"
#: Settings with the same name and meaning in both, with the default that applies when a generation config omits them.
_SEARCH: Mapping[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "diversity_penalty": 0.0,
    "early_stopping": False,
}


def genai_files(checkpoint: Checkpoint, stored: StoredGraph) -> dict[str, bytes]:
    """The files that let onnxruntime-genai run a decoder's version folder as well."""
    from transformers import AutoConfig, GenerationConfig

    config: Any = AutoConfig.for_model(**checkpoint.source.config)
    generation: Any = GenerationConfig(**generation_config_of(checkpoint))
    about = genai_config(config, generation, stored.graph.shares_buffer, stored.place)
    return {GENAI_CONFIG: (json.dumps(about, indent=2) + "\n").encode()}


def genai_config(
    config: PreTrainedConfig, generation: GenerationConfig, shares_buffer: bool = True, filename: str = "model.onnx"
) -> dict[str, Any]:
    """What onnxruntime-genai must know about the graph that `export_decoder` makes. `shares_buffer`: as in its Graph.

    Only the context bounds the length: callers set `max_length` as they need it. Only settings that both formats know are copied;
    the file has no place for the rest of the generation config (stop strings, bad words …).
    """
    ends = _first_known(generation.eos_token_id, config.eos_token_id)
    search = {name: _first_known(getattr(generation, name, None), default) for name, default in _SEARCH.items()}
    return {
        "model": {
            "type": "decoder",
            "context_length": config.max_position_embeddings,
            "vocab_size": config.vocab_size,
            **_token("bos_token_id", _first_known(generation.bos_token_id, config.bos_token_id)),
            **_token("eos_token_id", ends),
            # fills up the short rows of a batch and is masked, so any token will do
            "pad_token_id": _first_known(
                generation.pad_token_id, config.pad_token_id, ends[0] if isinstance(ends, list) else ends, 0
            ),
            "decoder": {
                "filename": filename,
                "session_options": {"provider_options": []},
                "head_size": config.hidden_size // config.num_attention_heads,
                "hidden_size": config.hidden_size,
                "num_attention_heads": config.num_attention_heads,
                "num_key_value_heads": config.num_attention_heads,
                "num_hidden_layers": config.num_hidden_layers,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "position_ids": "position_ids",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {
            **search,
            "early_stopping": search["early_stopping"] is True,  # transformers also knows "never"
            "min_length": generation.min_length or 0,
            "max_length": config.max_position_embeddings,
            "past_present_share_buffer": shares_buffer,
        },
    }


def _first_known(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _token(name: str, value: int | list[int] | None) -> dict[str, int | list[int]]:
    """A token's entry; empty if the checkpoint has no such token."""
    return {} if value is None else {name: value}
