"""RoBERTa and its kin: positions behind the padding token, no token types, byte-level and SentencePiece tokens, old files."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..exporter.triton_models.tokenizing import UNITS, charsmap
from .adapting import adapter, equal, peft_pipeline
from .case import Case, Equal, Refused, all_of, config, edited, saved, weights
from .judges import judge_of
from .sentences import TEXTS as SENTENCES
from .sentences import layers, old
from .sentences import then as then_sentences
from .tokens import AROUND, EMPTY, LENGTHS, SENTENCE, added, backend

ENTITIES, TONE, MASKED = "roberta-ner", "xlm-roberta-sentiment", "camembert-mlm"
TOKENIZER, DEFINITION = "tokenizer_config.json", "tokenizer.json"
LIMIT = 128
NER = "AutoModelForTokenClassification"
#: Doubled, leading and other spaces, several scripts, special tokens as text, words without spaces between them.
SPACED = (
    "  Angela   Schmidt flew  to\u00a0Paris.\n\tAcme Ltd ",
    "Müller-Lüdenscheid, 東京 and Ελλάδα😀Paris 👨‍👩‍👧 ﬁrm",
    "<s>Maria <mask> Paris<mask>  <mask></s> <pad>Acme <unk>",
    "".join(UNITS[::2]),
    " ".join(UNITS[1::2]),
)
#: Words of a token each: with the special ones, rows from two below the limit to three above it.
AT_THE_LIMIT = tuple("Monday " * count for count in range(LIMIT - 4, LIMIT + 2))
PAIRS = (
    {"text": "It was great!", "text_pair": "I would not say so."},
    [{"text": "one", "text_pair": "two " * 40}, {"text": "three " * 70, "text_pair": "four " * 80}],
    {"text": "", "text_pair": "good"},
)
ALL = {"top_k": None}
PROMPTS = {"query": "query: ", "passage": "passage: "}
GROUPS = {"aggregation_strategy": "max"}


def cut_at_the_limit(folder: Path) -> Callable[..., Any]:
    """transformers' pipeline, with the limit that the tokenizer does not state."""
    pipeline = judge_of("token-classification", folder)
    pipeline.tokenizer.model_max_length = LIMIT
    return pipeline


def cut_pairs(folder: Path) -> Callable[..., Any]:
    """transformers' pipeline, which cuts what is too long only when it is asked to."""
    pipeline = judge_of("text-classification", folder)
    return lambda one, **options: pipeline(one, truncation=True, **options)


def one_label(folder: Path) -> None:
    """A reranker: the head of a single label, whose score is a sigmoid."""

    def first(tensors: dict[str, np.ndarray]) -> None:
        for name in ("classifier.out_proj.weight", "classifier.out_proj.bias"):
            tensors[name] = tensors[name][:1]

    weights(first)(folder)
    config(["problem_type"], id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0})(folder)


def old_names(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Buffers, a pooler and a tied head twice, as transformers 3 and fairseq's converter wrote them."""
    generator = np.random.default_rng(0)
    table = tensors["roberta.embeddings.word_embeddings.weight"]
    return {
        **tensors,
        "roberta.embeddings.position_ids": np.arange(LIMIT + 2)[None],
        "roberta.embeddings.token_type_ids": np.zeros((1, LIMIT + 2), np.int64),
        "roberta.pooler.dense.weight": generator.normal(size=(64, 64)).astype(np.float32),
        "roberta.pooler.dense.bias": np.zeros(64, np.float32),
        "lm_head.decoder.weight": table.copy(),
        "lm_head.decoder.bias": tensors["lm_head.bias"].copy(),
    }


def kept_whole(**parts: Any) -> Callable[[Path], None]:
    """Parts of tokenizer.json replaced, in a tokenizer that transformers loads as it is."""
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"]}
    return all_of(edited(DEFINITION, **parts), edited(TOKENIZER, ["add_prefix_space"], **settings))


def with_types(rows: int) -> Callable[[Path], None]:
    """A tokenizer that tells the texts of a pair by token types, and as many types in the model."""

    def change(folder: Path) -> None:
        processor = json.loads((folder / DEFINITION).read_text("utf-8"))["post_processor"]
        for piece in processor["pair"][-2:]:
            next(iter(piece.values()))["type_id"] = 1
        kept_whole(post_processor=processor)(folder)
        edited(TOKENIZER, model_input_names=["input_ids", "token_type_ids", "attention_mask"])(folder)
        config(type_vocab_size=rows)(folder)
        name = "roberta.embeddings.token_type_embeddings.weight"
        table = np.random.default_rng(0).normal(size=(rows, 64)).astype(np.float32)
        weights(lambda tensors: {**tensors, name: np.concatenate([tensors[name], table])[:rows]})(folder)

    return change


def _random_head(model: Any, tokenizer: Any) -> None:
    import torch

    torch.manual_seed(0)
    torch.nn.init.normal_(model.classifier.weight, std=0.3)


TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
#: A head for tokens, in place of the trained one.
tagged = all_of(
    config(id2label=dict(enumerate(TAGS)), label2id={tag: index for index, tag in enumerate(TAGS)}),
    saved(_random_head, NER),
)


def a_body_with_an_adapter(folder: Path) -> Path:
    """An adapter with its own head, for a base that has none and names no labels."""
    made = adapter(modules_to_save=["classifier"])(folder)
    weights(lambda own: {name: array for name, array in own.items() if not name.startswith("classifier.")})(folder)
    config(["id2label", "label2id"])(folder)
    return made


def with_its_labels(folder: Path) -> Callable[..., Any]:
    """peft on a base with as many labels as the adapter's head has."""
    base = Path(json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"])
    config(id2label={str(index): f"LABEL_{index}" for index in range(3)})(base)
    return peft_pipeline(folder)


_CHARSMAP = charsmap({"\t": " ", "\n": " ", "\xa0": " ", "ﬁ": "fi", "½": "1/2", "\u200b": "", "Ａ": "A", "é": "e"})
_TODAY: Mapping[str, Any] = {
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(_CHARSMAP).decode()},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        ],
    },
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
}

CASES = (
    Case(
        "CamemBERT: words of SentencePiece tokens",
        MASKED,
        tagged,
        Equal([SENTENCE, *SPACED, *LENGTHS, *EMPTY, "Monday " * 200], GROUPS),
    ),
    Case(
        "RoBERTa: a tokenizer without a limit",
        ENTITIES,
        edited(TOKENIZER, ["model_max_length"]),
        Equal([*AT_THE_LIMIT, "Angela Schmidt went to Paris. " * 60], judge=cut_at_the_limit),
    ),
    Case(
        "XLM-R: a single label",
        TONE,
        one_label,
        Equal([*PAIRS, "It was great!", ["ok", "bad " * 300]], judge=cut_pairs),
    ),
    Case(
        "RoBERTa: an adapter with its own head",
        TONE,
        a_body_with_an_adapter,
        Equal(["It was great!", "ok"], ALL, judge=with_its_labels),
    ),
    Case(
        "CamemBERT: buffers, a pooler and a tied head twice",
        MASKED,
        weights(old_names),
        Equal(["And God <mask> the light.", "And <mask>the <mask>  <mask> said", " <mask> ,😀", "<mask>"]),
    ),
    # tokens
    Case(
        "RoBERTa: words of bytes",
        ENTITIES,
        lambda folder: None,
        Equal([*SPACED, *LENGTHS, *EMPTY, "Monday " * 200], GROUPS),
    ),
    Case(
        "RoBERTa: a space before texts, which offsets include",
        ENTITIES,
        edited(TOKENIZER, add_prefix_space=True, trim_offsets=False),
        Equal([SENTENCE, *SPACED], {"aggregation_strategy": "average"}),
    ),
    Case(
        "RoBERTa: added tokens",
        ENTITIES,
        added(NER, "<user>", "two words"),
        Equal([*AROUND, "two words Maria two words", *(f"Maria <user{index}>Paris" for index in range(8))], GROUPS),
    ),
    Case(
        "RoBERTa: cut on the left",
        ENTITIES,
        backend(lambda tokenizer: setattr(tokenizer, "truncation_side", "left")),
        Equal(["Angela Schmidt went to Paris. " * 60 + "Maria stayed in London.", SENTENCE], GROUPS),
    ),
    Case(
        "XLM-R: SentencePiece's normalizer, and spaces at the start of words",
        TONE,
        kept_whole(**_TODAY),
        Equal([*SPACED, "a\u200bﬁne  ½ movie", "good\tfilm " * 300, *PAIRS], ALL, judge=cut_pairs),
    ),
    Case(
        "CamemBERT: the same in words",
        MASKED,
        all_of(kept_whole(**_TODAY), tagged),
        Equal([SENTENCE, *SPACED, *LENGTHS], GROUPS),
    ),
    Case(
        "CamemBERT: decoded text that is cleaned up",
        MASKED,
        edited(TOKENIZER, clean_up_tokenization_spaces=True),
        Equal(["And he said , <mask> !", "<mask> <mask> 's house ."], {"top_k": 3}),
    ),
    Case(
        "CamemBERT: targets",
        MASKED,
        lambda folder: None,
        Equal(
            ["And the <mask> said", "<mask> and  <mask>"],
            {"targets": ["king", "▁king", " king", "Lord", "", "<mask>", "東京"], "top_k": 4},
        ),
    ),
    # positions
    Case(
        "XLM-R: padding tokens as text",
        TONE,
        lambda folder: None,
        Equal(["good <pad> film", ["<pad><pad> bad <pad>", "ok " * 60, "good<pad>"], "<pad>"], ALL),
    ),
    Case(
        "XLM-R: a padding token that is not the model's",
        TONE,
        edited(TOKENIZER, pad_token="</s>"),
        Equal([["It was great!", "ok", "terrible " * 90], *PAIRS[:2]], ALL, judge=cut_pairs),
    ),
    Case(
        "RoBERTa: no padding token",
        ENTITIES,
        config(pad_token_id=None),
        Refused(["pad_token_id null", "positions start"], early=False),
    ),
    Case(
        "RoBERTa: a padding token behind all positions",
        ENTITIES,
        config(pad_token_id=LIMIT + 1),
        Refused(["pad_token_id 129", "max_position_embeddings 130"], early=False),
    ),
    # token types
    Case("XLM-R: two token types", TONE, with_types(2), Equal([*PAIRS, "ok"], ALL, judge=cut_pairs)),
    Case(
        "XLM-R: a tokenizer of two types and a model of one",
        TONE,
        with_types(1),
        Refused(["type_vocab_size", "model_input_names"]),
    ),
    # bodies and heads
    Case(
        "XLM-R: prompts of a sentence embedder",
        TONE,
        layers("Normalize", prompts=PROMPTS, default_prompt_name="query"),
        Equal([*SENTENCES, "naïve 東京  😀"]),
        {"task": "sentence-similarity"},
    ),
    Case(
        "XLM-R: a passage, by the first token",
        TONE,
        layers("Dense", modes="cls", prompts=PROMPTS),
        Equal(SENTENCES, {"prompt_name": "passage"}),
        {"task": "sentence-similarity"},
    ),
    Case(
        "RoBERTa: the settings of the first sentence-transformers",
        ENTITIES,
        then_sentences(
            old("Normalize", pooling_mode_mean_tokens=True),
            edited("0_Transformer/sentence_roberta_config.json", max_seq_length=12, do_lower_case=True),
        ),
        Equal(SENTENCES),
        {"task": "sentence-similarity"},
    ),
    Case("XLM-R: an adapter on a classifier", TONE, adapter(), equal(["It was great!", "ok"], **ALL)),
    Case(
        "CamemBERT: an adapter with new tokens",
        MASKED,
        adapter(["<user>"]),
        equal(["And <user> said <mask> .", "<user><mask>"]),
    ),
    Case(
        "RoBERTa: the head of tokens for texts",
        ENTITIES,
        config(architectures=["RobertaForSequenceClassification"]),
        Refused(["text-classification", "classifier.out_proj.weight"]),
    ),
    Case(
        "RoBERTa: no head",
        ENTITIES,
        weights(lambda own: {name: array for name, array in own.items() if "classifier" not in name}),
        Refused(["token-classification", "classifier.weight"]),
    ),
)
