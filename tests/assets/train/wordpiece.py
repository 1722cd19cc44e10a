"""BERT's tokenizer with a vocabulary of the recipe's own texts."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import trainers
from transformers import BertTokenizer

MAX_LENGTH = 128
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def train_tokenizer(
    texts: Sequence[str], size: int = 3000, *, lowercase: bool, token_types: bool = True
) -> BertTokenizer:
    """A WordPiece tokenizer of `size` pieces that cuts at 128 tokens. DistilBERT has no token types."""
    blank = BertTokenizer(do_lower_case=lowercase).backend_tokenizer
    # The trainer numbers "##x" pieces in the order of a hash map and breaks ties by number, so that no two runs agree;
    # named beforehand, they have fixed numbers.
    alphabet = sorted(set("".join(blank.normalizer.normalize_str(text) for text in texts)) - {" "})
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=[*SPECIAL, *(f"##{character}" for character in alphabet)],
        min_frequency=2,
        show_progress=False,
    )
    blank.train_from_iterator(texts, trainer)
    inputs = ["input_ids", "token_type_ids", "attention_mask"] if token_types else ["input_ids", "attention_mask"]
    return BertTokenizer(
        vocab=blank.get_vocab(), do_lower_case=lowercase, model_max_length=MAX_LENGTH, model_input_names=inputs
    )
