"""Checkpoints that generate."""

from __future__ import annotations

import numpy as np

from .adapting import adapter, equal
from .case import Case, Equal, Refused, config, edited, saved, weights

NEO, OPT, NEW = "gptneo-verses", "opt-verses", ("<user>", "<code>")
WITH_NEW = ["And the king <user> said", "<code>In the beginning"]
#: Within a window of 32 tokens, across its end, and beyond it.
LONG = ["And the", "And he said unto them, Go ye up into the city, and there shall", "the LORD spake unto Moses, " * 12]
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


def _of_words(folder):
    """Another tokenizer, as BERT's with GPT-2: words with spaces between, and endings in the place of what is said most."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    before = AutoTokenizer.from_pretrained(folder)
    words = {index: f"w{index}" for index in range(len(before))} | {before.eos_token_id: "<|endoftext|>"}
    often = dict.fromkeys(before(" the LORD, and of\nAnd he said unto them: I will be a man of Israel.")["input_ids"])
    endings = (".", "'", "s", ",", "n't", "?", "##s", "'s", "n", "'re", "'ve", "!", "t", "re", "'m")
    words |= dict(zip(often, endings, strict=False))
    vocabulary = {word: index for index, word in words.items()}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="<|endoftext|>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.WordPiece(cleanup=False)
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=256, clean_up_tokenization_spaces=True, **special
    ).save_pretrained(folder)


def _with_masks(own):
    """The causal masks that transformers 4 saved."""
    for layer in range(4):
        name = f"transformer.h.{layer}.attn.attention"
        own[f"{name}.bias"] = np.tril(np.ones((1, 1, 256, 256), bool))
        own[f"{name}.masked_bias"] = np.array(-1e9, np.float32)


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
    Case(
        "text of words that is cleaned up",
        "gpt2-verses",
        _of_words,
        Equal(["w300 . '", "w301 'm w302 n't", "w303 ' s w304", "", "w305 , w306"], {"repetition_penalty": 1.7}),
    ),
    Case("a window in standard attention", NEO, lambda folder: None, Equal(LONG), {"attention": "standard"}),
    Case("a window longer than texts", NEO, config(window_size=300), Equal(LONG)),
    Case("GPT-Neo with its masks among the weights", NEO, weights(_with_masks), Equal(PROMPTS)),
    Case("GPT-Neo says added tokens", NEO, talkative("<user>", "é", lstrip=True), Equal(PROMPTS)),
    Case(
        "a window, for a release that counts it otherwise",
        NEO,
        lambda folder: None,
        Refused(["GroupQueryAttention with a window", "26.02", "use --attention standard"], early=False),
        {"release": "25.08"},
    ),
    Case("adapter: resized GPT-Neo", NEO, adapter(NEW), equal(WITH_NEW)),
    Case("adapter: all products of GPT-Neo", NEO, adapter(target_modules="all-linear"), equal(LONG)),
    Case("OPT says special added tokens", OPT, talkative("<user>", "<end>", special=True), Equal(PROMPTS)),
    Case(
        "OPT is asked for its own special tokens", OPT, lambda folder: None, Equal(["</s>And", "a <pad> b</s>", "</s>"])
    ),
    Case("OPT in standard attention", OPT, lambda folder: None, Equal(LONG), {"attention": "standard"}),
    Case(
        "OPT whose norms are before layers and whose config says behind",
        OPT,
        config(do_layer_norm_before=False),
        Refused(["decoder.final_layer_norm.bias", "no place for"], early=False),
    ),
    Case("adapter: OPT's embeddings saved", OPT, adapter(NEW, modules_to_save=["embed_tokens"]), equal(WITH_NEW)),
    Case("adapter: all products of OPT", OPT, adapter(target_modules="all-linear"), equal(LONG)),
)
