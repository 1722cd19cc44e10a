"""Tokenizers."""

from __future__ import annotations

from .case import Case, Equal, Refused, all_of, config, edited, saved, weights, without

SENTENCE = "Angela Schmidt of Acme Ltd flew to Paris on Monday."


def _vocabulary(ending: str):
    """vocab.txt in place of tokenizer.json, its lines with this ending."""

    def change(folder):
        from tokenizers import Tokenizer

        vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
        tokens = sorted(vocabulary, key=vocabulary.get)
        (folder / "vocab.txt").write_bytes(ending.join([*tokens, ""]).encode())

    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 128}
    return all_of(
        change, without("tokenizer.json", "tokenizer_config.json"), edited("tokenizer_config.json", **tokenizer)
    )


def _more_tokens(resized: bool):
    """Two tokens added, and the model's embeddings made larger for them or not."""

    def change(model, tokenizer):
        tokenizer.add_tokens(["<user>", "<url>"])
        if resized:
            model.resize_token_embeddings(len(tokenizer))

    return saved(change, "AutoModelForSequenceClassification")


def _one_type(tensors):
    name = "bert.embeddings.token_type_embeddings.weight"
    tensors[name] = tensors[name][:1]


ONE_TYPE = all_of(weights(_one_type), config(type_vocab_size=1))
TOKENIZER = "tokenizer_config.json"

CASES = (
    Case("as it was trained", "bert-ner", lambda folder: None, Equal([SENTENCE], {"aggregation_strategy": "simple"})),
    Case("vocab.txt written on Windows", "bert-sentiment", _vocabulary("\r\n"), Equal(["It was great!", "ok"])),
    Case(
        "tokens that the model has no embedding for",
        "bert-sentiment",
        _more_tokens(resized=False),
        Refused(["2 tokens", "'<user>'", "'<url>'", "resize_token_embeddings"]),
    ),
    Case(
        "tokens that the model was made larger for",
        "bert-sentiment",
        _more_tokens(resized=True),
        Equal(["<user> says: see <url>!", "<user><user>ok"]),
    ),
    Case(
        "a token beyond, told by tokenizer_config.json alone",
        "bert-sentiment",
        edited(TOKENIZER, added_tokens_decoder={"99999": {"content": "<far>"}}),
        Refused(["'<far>' (99999)"]),
    ),
    Case(
        "one token type, and a tokenizer that gives two",
        "bert-sentiment",
        ONE_TYPE,
        Refused(["type_vocab_size", "model_input_names"], early=False),
    ),
    Case(
        "one token type, and a tokenizer without any",
        "bert-sentiment",
        all_of(ONE_TYPE, edited(TOKENIZER, model_input_names=["input_ids", "attention_mask"])),
        Equal(["It was great!", {"text": "one", "text_pair": "two"}]),
    ),
    Case(
        "a padding token that GPT-2 was not made larger for",
        "gpt2-verses",
        saved(lambda model, tokenizer: tokenizer.add_special_tokens({"pad_token": "[PAD]"}), "AutoModelForCausalLM"),
        Refused(["'[PAD]'", "resize_token_embeddings"]),
    ),
    Case("no tokenizer", "bert-sentiment", without("token*"), Refused(["has no tokenizer", "save_pretrained"])),
    Case(
        "a vocabulary without its merges",
        "gpt2-verses",
        all_of(without("tokenizer.json"), edited("vocab.json", **{"a": 0})),
        Refused(["vocab.json", "lacks merges.txt"]),
    ),
    Case(
        "a tokenizer with code of its own",
        "bert-sentiment",
        edited(TOKENIZER, auto_map={"AutoTokenizer": ["tokenization.Own", None]}),
        Refused(["auto_map", "code of its own"]),
    ),
    Case(
        "a tokenizer written in Python",
        "bert-sentiment",
        all_of(
            _vocabulary("\n"), edited(TOKENIZER, tokenizer_class="BertJapaneseTokenizer", word_tokenizer_type="basic")
        ),
        Refused(["BertJapaneseTokenizer", "no fast form"], early=False),
    ),
    Case(
        "half a tokenizer.json",
        "bert-sentiment",
        lambda folder: (folder / "tokenizer.json").write_text('{"model": {"type"'),
        Refused(["tokenizer.json cannot be read"]),
    ),
    Case(
        "a tokenizer.json without a vocabulary",
        "bert-sentiment",
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        Refused(["does not load", "tokenizer.json has no 'model'"]),
    ),
)
