"""Loads a checkpoint's tokenizer in the form that frontends load."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf2triton_client.pipelines.token_decoders import DECODERS, decoder_settings

from ..core.types import Tokenizer
from ..errors import SourceError, TokenizerMissing
from .sentence_pieces import fast_form
from .tokenizer_files import read_tokenizer_files

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Keys that `save_pretrained` writes about the machine and about how the tokenizer was loaded.
_OF_THE_MACHINE = ("is_local", "local_files_only", "name_or_path")


def load_tokenizer(
    folder: Path, pads: bool, piece_normalizers: Sequence[Mapping[str, Any]] = ()
) -> tuple[Tokenizer, int | None]:
    """The tokenizer, and the longest sequence that it was made for. `pads`: rows of different lengths run together.
    `piece_normalizers`: of the family.

    Raises TokenizerMissing.
    """
    from transformers import AutoTokenizer

    read_tokenizer_files(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises plain Exception
        why = " ".join(str(error).split())
        raise TokenizerMissing(f"the tokenizer in {folder} does not load: {why}") from error
    if not tokenizer.is_fast and not (piece_normalizers and getattr(tokenizer, "vocab_file", None)):
        raise TokenizerMissing(
            f"the tokenizer in {folder} is a {type(tokenizer).__name__}, which is written in Python and has no fast form"
            " (tokenizer.json): it cannot be served. If one of the tokenizers library gives the same tokens,"
            " save that beside the model"
        )
    whole = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else fast_form(tokenizer, piece_normalizers)
    definition = json.loads(whole)
    padding = tokenizer.pad_token_id
    if padding is None:
        if pads:
            raise TokenizerMissing(f"the tokenizer in {folder} has no padding token")
        padding = tokenizer.eos_token_id or 0  # padding is masked in PyTorch: any token will do
    definition |= {"truncation": None, "padding": None}
    limit = tokenizer.model_max_length
    return (
        Tokenizer(
            json.dumps(definition, ensure_ascii=False),
            None if pads else _config(tokenizer),
            padding,
            tokenizer.cls_token_id,
            tokenizer.unk_token,
            tokenizer.mask_token,
            definition.get("decoder"),
            _cleans_up(tokenizer, definition),
            tokenizer.truncation_side,
            "token_type_ids" in tokenizer.model_input_names,
            tuple(sorted(tokenizer.all_special_ids)),
            tokenizer.padding_side,
            "attention_mask" in tokenizer.model_input_names,
        ),
        limit if limit < 1 << 30 else None,  # transformers writes 1e30 for "no limit"
    )


def lower_cases(tokenizer: Tokenizer) -> bool:
    """Whether its normalizer has a separate lower-casing step. sentence-transformers checks this before it adds such a step."""
    normalizer = json.loads(tokenizer.definition).get("normalizer") or {}
    steps = normalizer.get("normalizers", [normalizer]) if normalizer.get("type") == "Sequence" else [normalizer]
    return any(step.get("type") == "Lowercase" for step in steps)


def require_streaming(tokenizer: Tokenizer, folder: Path) -> None:
    """Checks that text can be streamed piece by piece as its tokens arrive. Raises SourceError."""
    import tokenizers

    from ..triton_models.generation.detokenize import Detokenizer

    try:
        Detokenizer(tokenizers.Tokenizer.from_str(tokenizer.definition))
    except ValueError as error:
        raise SourceError(f"the tokenizer in {folder} cannot be served: {error}") from error


def marks_subwords(tokenizer: Tokenizer) -> bool:
    """Whether tokens that continue a word have a prefix. transformers tells words by spaces otherwise."""
    return bool(json.loads(tokenizer.definition)["model"].get("continuing_subword_prefix"))


def require_decoder(tokenizer: Tokenizer, folder: Path) -> None:
    """Checks that clients can join its tokens into words. Raises SourceError."""
    if decoder_settings(tokenizer.decoder) is None:
        known = ", ".join(kind or "none" for kind in DECODERS)
        raise SourceError(
            f"the tokenizer in {folder} has a decoder of the type {(tokenizer.decoder or {})['type']}, whose words clients"
            f" cannot join; known are {known}"
        )


def require_padding(tokenizer: Tokenizer, folder: Path, length: int, positions: int) -> None:
    """Checks that rows can be padded to `length` tokens, which the model attends to. Raises SourceError."""
    if positions < length:
        raise SourceError(
            f"the model has {positions} positions for texts (max_position_embeddings), and transformers pads all of its texts to"
            f" {length} tokens: they do not fit"
        )
    if tokenizer.masks:
        raise SourceError(
            f"the tokenizer in {folder} gives an attention_mask, and the model was trained without: it attends to padding. Set"
            ' the model_input_names in tokenizer_config.json to ["input_ids"]'
        )


def _cleans_up(tokenizer: PreTrainedTokenizerBase, definition: Mapping[str, Any]) -> bool:
    """Whether transformers cleans up what the tokenizer decodes. For BPE, a second key must also ask for it."""
    is_bpe = definition["model"]["type"] == "BPE"
    for_bpe = getattr(tokenizer, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", False)
    return bool(tokenizer.clean_up_tokenization_spaces) and bool(for_bpe or not is_bpe)


def _config(tokenizer: PreTrainedTokenizerBase) -> str:
    """The content of its tokenizer_config.json, as text."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        config = json.loads(Path(folder, "tokenizer_config.json").read_text(encoding="utf-8"))
    kept = {name: value for name, value in config.items() if name not in _OF_THE_MACHINE}
    return json.dumps(kept, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
