"""Checkpoints that generate."""

from __future__ import annotations

from .case import Case, Equal, edited, saved

PROMPTS = ("And the", "", " ", "\n", "\u200b", "the LORD", "<user> And<user>the <user>", "<user>", "é😀 the")


def talkative(*contents: str, **flags: bool):
    """Tokens added that the model likes to say: each in the place of one that it says often."""

    def change(model, tokenizer):
        from transformers import AddedToken

        often = [tokenizer(text)["input_ids"][0] for text in (" the", ",", " LORD", " of")]
        tokenizer.add_tokens([AddedToken(one, **flags) for one in contents], special_tokens=flags.get("special", False))
        model.resize_token_embeddings(len(tokenizer))
        table = model.get_input_embeddings().weight.data
        for content, like in zip(contents, often, strict=False):
            table[tokenizer.convert_tokens_to_ids(content)] = 1.2 * table[like]

    return saved(change, "AutoModelForCausalLM")


def _padding(model, tokenizer):
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    model.resize_token_embeddings(len(tokenizer))
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id


def _words(model, tokenizer):
    """A tokenizer of words, as models of other things than language have."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = [f"w{number}" for number in range(model.config.vocab_size - 16)]
    words += ["<|endoftext|>", ".", ",", "!", "?", "'", "n't", "'s", "'ve", "'m", "'re", "n", "s", "##s", "re", "t"]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, "<|endoftext|>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.WordPiece(cleanup=False)
    tokenizer._tokenizer = backend


CASES: tuple[Case, ...] = (
    Case("empty prompts", "gpt2-verses", lambda folder: None, Equal(PROMPTS)),
    Case(
        "GPT-2 with an added [PAD]",
        "gpt2-verses",
        saved(_padding, "AutoModelForCausalLM"),
        Equal([*PROMPTS, "[PAD] a"]),
    ),
    Case(
        "GPT-2 says added tokens",
        "gpt2-verses",
        talkative("<user>", "é", "two words", "…", lstrip=True, rstrip=True),
        Equal(PROMPTS, {"repetition_penalty": 1.7}),
    ),
    Case(
        "GPT-2 says special added tokens",
        "gpt2-verses",
        talkative("<user>", "<end>", special=True),
        Equal(PROMPTS, {"repetition_penalty": 1.7}),
    ),
    Case(
        "text of BPE that is to be cleaned up",
        "gpt2-verses",
        edited("tokenizer_config.json", clean_up_tokenization_spaces=True),
        Equal(PROMPTS),
    ),
)
