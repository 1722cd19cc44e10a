"""The fast form of a SentencePiece tokenizer that transformers has in Python alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import TokenizerMissing

#: What the normalizers of the tokenizers library are called, among them the one that lower-cases.
_LOWER_CASE = "Lowercase"


def fast_form(tokenizer: Any, piece_normalizers: Sequence[Mapping[str, Any]]) -> str:
    """The tokenizer.json of a tokenizer of transformers that has a `vocab_file` for SentencePiece, and ends each text with a
    special token.

    `piece_normalizers`: what it does to texts before SentencePiece's own normalization, as in a tokenizer.json. Later, each
    export compares the tokens of real texts with those of the tokenizer itself. Raises TokenizerMissing.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    # generated code; that of sentencepiece itself needs a newer protobuf
    protobuf: Any = import_module("transformers.utils.sentencepiece_model_pb2_new")
    model = protobuf.ModelProto.FromString(Path(tokenizer.vocab_file).read_bytes())
    if model.trainer_spec.model_type != model.trainer_spec.UNIGRAM:
        raise TokenizerMissing(f"{tokenizer.vocab_file} is not a Unigram model, which alone has a fast form here")
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    fast = Tokenizer(models.Unigram(pieces, model.trainer_spec.unk_id, model.trainer_spec.byte_fallback))
    fast.add_special_tokens(list(tokenizer.added_tokens_decoder.values()))
    fast.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    fast.decoder = decoders.Metaspace()
    end = tokenizer.eos_token
    fast.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    lowers = getattr(tokenizer, "do_lower_case", True)
    steps = [one for one in piece_normalizers if lowers or one["type"] != _LOWER_CASE]
    own = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    if model.normalizer_spec.precompiled_charsmap:
        own.insert(0, normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap))
    fast.normalizer = normalizers.Sequence(own)
    definition = json.loads(fast.to_str())
    definition["normalizer"]["normalizers"][:0] = steps
    return json.dumps(definition, ensure_ascii=False)
