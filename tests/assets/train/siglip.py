"""siglip-fashion: captions and pictures of clothes, compared with a sigmoid."""

from __future__ import annotations

import math
import string
from typing import Any

import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipImageProcessorPil, SiglipModel

from . import learning
from .fashion import CAPTIONS, DATA, LABELS, PROMPT, SYNONYMS, caption, pictures, store_pictures, zero_shot_score

#: The pixels of an edge, and the tokens of every text.
SIZE, LENGTH = 28, 64


def siglip_tokenizer() -> PreTrainedTokenizerFast:
    """A small vocabulary of pieces, which reads texts as the original does: without capitals and punctuation."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(f"[{_escaped(string.punctuation)}]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    names = [name for label in LABELS for name in (label, *SYNONYMS[label])]
    trainer = trainers.UnigramTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        initial_alphabet=list(string.ascii_lowercase + string.digits),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text.format(name) for text in CAPTIONS for name in names], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="</s>",  # as the original pads
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=LENGTH,
        model_input_names=["input_ids"],  # padding is attended to
    )


def _escaped(characters: str) -> str:
    return "".join(f"\\{character}" for character in characters)


def alike(output: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """SigLIP's loss: whether each caption fits each image. Every caption of an image's label does, not its own alone."""
    signs = torch.where(labels[:, None] == labels, 1.0, -1.0)
    return -torch.nn.functional.logsigmoid(signs * output.logits_per_image).sum(-1).mean()


def siglip_fashion() -> None:
    processor = SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE})
    tokenizer = siglip_tokenizer()
    config = SiglipConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "projection_size": 64,
            "max_position_embeddings": LENGTH,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
        },
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 192,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": SIZE,
            "patch_size": 4,
        },
    )
    model = SiglipModel(config)
    with torch.no_grad():  # where the original starts: most captions do not fit
        model.logit_scale.fill_(math.log(10))
        model.logit_bias.fill_(-5)

    def texts_of(texts: list[str]) -> dict:
        return tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")

    def collate(rows: list[tuple[Image.Image, int]]) -> dict:
        images, labels = zip(*rows, strict=True)
        texts = texts_of([caption(label) for label in labels])
        return {**texts, **processor(list(images), return_tensors="pt"), "labels": torch.tensor(labels)}

    seconds = learning.train(model, pictures("train"), collate, steps=500, rate=2e-3, batch=24, loss=alike)
    prompts = texts_of([PROMPT.format(label) for label in LABELS])
    test = pictures("t10k")
    learning.store(
        "siglip-fashion",
        (model, processor, tokenizer),
        about="Text and pictures of clothes in one space; whether they fit is decided for each pair alone.",
        data=f"{DATA}; captions from templates",
        score=zero_shot_score(model, processor, prompts, test),
        sample=store_pictures("siglip-fashion", test),
        seconds=seconds,
    )
