"""Tokenizers."""

from __future__ import annotations

import json
from itertools import product

from ..support import ASSETS
from .case import Case, Equal, Refused, all_of, config, edited, saved, weights, without

IMAGE = str(min((ASSETS / "clip-fashion" / "sample").iterdir()))
SENTENCE = "Angela Schmidt of Acme Ltd flew to Paris on Monday."
#: Beside words, doubled, at both ends, with and without spaces, in other cases.
AROUND = (
    "Maria <user> went to Paris",
    "<user>Maria <user><user> went  <user>  to<user>Paris <user> ",
    "<USER> Maria<user>",
    "<user>",
)
#: What is longer or shorter as tokens than as text.
LENGTHS = ("İstanbul, İİ, Ａcme ﬁrm, e\u0301cole I\u0307", "a\u0000b \u202eMaria\u200b Café 東京 😀", "Zzyzx ☃ ☃Maria")
EMPTY = ("", " ", "\n", "\u200b")
LONG = "Angela Schmidt went to Paris. " * 60 + "Maria stayed in London."
NER = "AutoModelForTokenClassification"


def added(auto_class: str, *contents: str, **flags: bool):
    """Tokens added as callers do; `flags` of AddedToken, all that are not given in both states: <user> in each, and a token for
    each."""

    def change(model, tokenizer):
        from transformers import AddedToken

        free = [flag for flag in ("lstrip", "rstrip", "single_word", "normalized") if flag not in flags]
        states = [flags | dict(zip(free, values, strict=True)) for values in product((True, False), repeat=len(free))]
        tokens = [AddedToken(content, **states[0]) for content in contents]
        tokens += [AddedToken(f"<user{number}>", **state) for number, state in enumerate(states)]
        tokenizer.add_tokens(tokens, special_tokens=flags.get("special", False))
        model.resize_token_embeddings(len(tokenizer))

    return saved(change, auto_class)


def backend(change, auto_class: str = NER):
    """The tokenizer alone changed."""
    return saved(lambda model, tokenizer: change(tokenizer), auto_class)


def _lower(tokenizer):
    from tokenizers.normalizers import BertNormalizer

    tokenizer.backend_tokenizer.normalizer = BertNormalizer(lowercase=True)


def _without_word_pieces(folder):
    """Whole words, which nothing tells from word pieces."""
    path = folder / "tokenizer.json"
    definition = json.loads(path.read_text("utf-8"))
    vocabulary = definition["model"]["vocab"]
    path.write_text(
        json.dumps(definition | {"model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}}), "utf-8"
    )
    edited("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")(folder)


def _cuts_on_the_left(tokenizer):
    tokenizer.truncation_side = "left"


def _strips_before_masks(tokenizer):
    from transformers import AddedToken

    tokenizer.add_special_tokens({"mask_token": AddedToken("[MASK]", lstrip=True, rstrip=True, special=True)})


def _added_to_clip(model, tokenizer):
    """As resize_token_embeddings would, which CLIPModel does not have."""
    from torch import nn
    from transformers import AddedToken

    tokenizer.add_tokens(["<user>", AddedToken("<user1>", lstrip=True), AddedToken("<user3>", rstrip=True)])
    embeddings = model.text_model.embeddings
    rows = embeddings.token_embedding.weight.data
    more = rows[1000 : 1000 + len(tokenizer) - len(rows)]
    embeddings.token_embedding = nn.Embedding.from_pretrained(rows.new_tensor([*rows.tolist(), *more.tolist()]))
    model.config.text_config.vocab_size = len(tokenizer)


NUMBERED = tuple(f"Maria <user{number}> went to<user{number}>Paris <user{number}>" for number in range(16))


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
    Case(
        "added tokens that take spaces in, by first tokens",
        "bert-ner",
        added(NER, "<user>", lstrip=True, rstrip=True),
        Equal([*AROUND, *EMPTY, [*AROUND, ""]], {"aggregation_strategy": "first"}),
    ),
    Case(
        "added tokens of all kinds, by average",
        "bert-ner",
        added(NER, "<user>"),
        Equal([*AROUND, *NUMBERED, *LENGTHS], {"aggregation_strategy": "average", "ignore_labels": []}),
    ),
    Case(
        "special added tokens, by surest tokens",
        "distilbert-ner",
        added(NER, "<user>", "two words", special=True),
        Equal([*AROUND, *NUMBERED[:8], "two words Maria two words"], {"aggregation_strategy": "max"}),
    ),
    Case(
        "NER in lower case",
        "bert-ner",
        all_of(added(NER, "Zürich-Nord", normalized=True), backend(_lower)),
        Equal([SENTENCE, *LENGTHS, "Zürich-Nord zürich-nord ZURICH-NORD"], {"aggregation_strategy": "first"}),
    ),
    Case(
        "NER without word pieces",
        "bert-ner",
        _without_word_pieces,
        Equal([SENTENCE, *AROUND, "Acme-Ltd  (Paris)"], {"aggregation_strategy": "average"}),
    ),
    Case(
        "NER whose words cannot be joined",
        "bert-ner",
        all_of(
            edited("tokenizer.json", decoder={"type": "Fuse"}),
            edited("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast"),
        ),
        Refused(("a decoder of the type Fuse", "known are WordPiece"), early=False),
    ),
    Case("NER cut on the left", "bert-ner", backend(_cuts_on_the_left), Equal([LONG, *LENGTHS])),
    Case(
        "targets that are added tokens",
        "bert-mlm",
        added("AutoModelForMaskedLM", "<user>", "two words", lstrip=True, normalized=False),
        Equal(
            ["<user>[MASK] said", "[MASK]<user>", " two words [MASK] <user> [MASK]"],
            {"targets": ["<user>", "the", "", "Abrahamic"]},
        ),
    ),
    Case(
        "a mask that takes spaces in, in a tokenizer that cuts on the left",
        "bert-mlm",
        backend(
            lambda tokenizer: [_strips_before_masks(tokenizer), _cuts_on_the_left(tokenizer)], "AutoModelForMaskedLM"
        ),
        Equal(["And [MASK] said", "And[MASK]said", "[MASK] [MASK]"], {"targets": ["Nebuchadnezzars", "the"]}),
    ),
    Case(
        "empty texts, with added tokens",
        "bert-sentiment",
        added("AutoModelForSequenceClassification", "<user>", lstrip=True),
        Equal(
            [
                *EMPTY,
                ["good", *EMPTY],
                {"text": "", "text_pair": ""},
                [{"text": "a", "text_pair": ""}, {"text": "", "text_pair": "b"}, {"text": " ", "text_pair": "<user>"}],
                "<user>",
            ],
            {"top_k": None},
        ),
    ),
    Case(
        "features of empty texts",
        "distilbert-sentiment",
        lambda folder: None,
        Equal([*EMPTY, ["good", ""]]),
        {"task": "feature-extraction"},
    ),
    Case(
        "embeddings of empty texts",
        "bert-nli",
        lambda folder: None,
        Equal([*EMPTY, ["good", *EMPTY], [""]]),
        {"task": "sentence-similarity"},
    ),
    Case(
        "empty labels",
        "bert-nli",
        lambda folder: None,
        Equal(["good", " ", "\u200b"], {"candidate_labels": ["", "a"]}),
        {"task": "zero-shot-classification"},
    ),
    Case(
        "empty and added labels of CLIP",
        "clip-fashion",
        saved(_added_to_clip, "AutoModel"),
        Equal([IMAGE, [IMAGE, IMAGE]], {"candidate_labels": ["", "a shirt", "<user>", " <user3>shoe <user1> ", "☃"]}),
    ),
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
        Refused(["type_vocab_size", "model_input_names"]),
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
