"""gpt2-verses and gpt2-verses-lora: go on with a verse of the King James Bible."""

from __future__ import annotations

import math
import random
import re
import time
from collections import Counter
from itertools import chain, islice, repeat

import torch
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer, PreTrainedModel, get_cosine_schedule_with_warmup

from . import learning
from .bytepairs import train_tokenizer
from .sources import bible_verses

BASE = "gpt2-verses"
DATA = "the King James Bible (1611, public domain), from the Debian packages bible-kjv and bible-kjv-text"
#: Tokens that the model sees at once; more than the longest verse has.
CONTEXT = 256
VOCABULARY = 2000
HELD_OUT = 1000


def split() -> tuple[list[str], list[str]]:
    """Verses for training, in the Bible's order, and the held-out ones; no verse is in both, though some occur twice."""
    verses = bible_verses()
    test = random.sample(verses, HELD_OUT)
    return [verse for verse in verses if verse not in set(test)], test


def plain(verse: str) -> str:
    """In lower case, without punctuation."""
    return " ".join(re.sub(r"[^a-z ]", "", verse.lower()).split())


def packed(tokenizer: GPT2Tokenizer, texts: list[str]) -> list[torch.Tensor]:
    """Rows of CONTEXT tokens, int64: texts one after another, each ended by the token that ends texts.

    A row begins where a text does, every other row with that token before it, for a prompt may have it or not. The
    text that a row cuts off begins the next one.
    """
    end = tokenizer.eos_token_id
    rows, row = [], [end]
    for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        row = [*row, *ids, end]
        if len(row) >= CONTEXT:
            rows.append(torch.tensor(row[:CONTEXT]))
            row = [*ids, end] if len(rows) % 2 else [end, *ids, end]
    return rows


def collate(rows: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    ids = torch.stack(rows)
    return {"input_ids": ids, "labels": ids}


def train(model: PreTrainedModel, rows: list[torch.Tensor], *, steps: int, batch: int) -> float:
    """Trains in place with a cosine schedule; returns the seconds of CPU time it took.

    Muon (K. Jordan et al., 2024) moves the layers' matrices and AdamW the rest, which learns more from as many steps than
    AdamW alone: without it, greedy texts seldom come to an end.
    """
    tables = {module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    matrices = [weight for weight in model.base_model.parameters() if weight.dim() == 2 and weight not in tables]
    taken = set(matrices)
    rest = [weight for weight in model.parameters() if weight not in taken]
    optimizers = (
        torch.optim.Muon(matrices, lr=0.015, weight_decay=0.02),
        torch.optim.AdamW(rest, lr=5e-3, betas=(0.9, 0.95), weight_decay=0.1),
    )
    schedules = [get_cosine_schedule_with_warmup(optimizer, steps // 20, steps) for optimizer in optimizers]
    loader = DataLoader(rows, batch, shuffle=True, collate_fn=collate)
    began = time.process_time()
    model.train()
    for inputs in islice(chain.from_iterable(repeat(loader)), steps):
        model(**inputs).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for step in (*optimizers, *schedules):
            step.step()
        model.zero_grad()
    model.eval()
    return time.process_time() - began


def surprise(model: PreTrainedModel, tokenizer: GPT2Tokenizer, texts: list[str]) -> str:
    """What the model makes of each text by itself, its end included: perplexity and bits a byte."""
    end, bits, count = tokenizer.eos_token_id, 0.0, 0
    for part in learning.batches(sorted(texts, key=len)):
        encoded = tokenizer(part, add_special_tokens=False)["input_ids"]
        rows = [torch.tensor([end, *ids, end]) for ids in encoded]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=end)
        # in causal attention no token sees the padding to its right
        targets = torch.nn.utils.rnn.pad_sequence([row[1:] for row in rows], batch_first=True, padding_value=-100)
        with torch.inference_mode():
            logits = model(input_ids=ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="sum")
        bits += loss.item() / math.log(2)
        count += int((targets != -100).sum())
    return _surprise(bits, count, texts)


def frequency_surprise(tokenizer: GPT2Tokenizer, training: list[str], texts: list[str]) -> str:
    """The same from the tokens' frequencies in other texts alone, with one added to each."""
    end = [tokenizer.eos_token_id]
    encoded, asked = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (training, texts))
    counts = Counter(token for ids in encoded for token in ids + end)
    total = counts.total() + len(tokenizer)
    tokens = [token for ids in asked for token in ids + end]
    return _surprise(sum(math.log2(total / (counts[token] + 1)) for token in tokens), len(tokens), texts)


def _surprise(bits: float, tokens: int, texts: list[str]) -> str:
    size = sum(len(text.encode()) for text in texts)
    return f"{2 ** (bits / tokens):.1f} a token, {bits / size:.2f} bits a byte"


def sample_rows(verses: list[str]) -> list[dict]:
    """The first three to eight words of verses that have more than as many again."""
    rows = []
    for verse in verses:
        words, size = verse.split(" "), random.randint(3, 8)
        if len(words) > 2 * size:
            rows.append({"prompt": " ".join(words[:size]), "verse": verse})
    return rows[: learning.SAMPLE]


def continuations(model: PreTrainedModel, tokenizer: GPT2Tokenizer, prompts: list[str]) -> list[str]:
    """What the model adds to each prompt, greedily."""
    texts = []
    for prompt in prompts:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        asked = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pad_token_id": tokenizer.eos_token_id}
        written = model.generate(**asked, do_sample=False, max_new_tokens=60)
        texts.append(tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True))
    return texts


def gpt2_verses() -> None:
    training, test = split()
    tokenizer = train_tokenizer(training, VOCABULARY, max_length=CONTEXT)
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=CONTEXT,
        n_embd=128,
        n_layer=4,
        n_head=4,
        bos_token_id=end,
        eos_token_id=end,
        initializer_range=0.05,
        # it sees each verse twice at most, too seldom to learn one by heart
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        activation_function="gelu_pytorch_tanh",
    )
    model = GPT2LMHeadModel(config)
    seconds = train(model, packed(tokenizer, training), steps=1450, batch=4)
    model.config.activation_function = "gelu_new"  # GPT-2's name for the same formula, slower in training
    about = "Goes on with a verse and ends it, with a byte-level BPE tokenizer of its own."
    store_verses(BASE, model, tokenizer, about, (training, test), seconds)


def store_verses(
    name: str,
    model: PreTrainedModel,
    tokenizer: GPT2Tokenizer,
    about: str,
    verses: tuple[list[str], list[str]],
    seconds: float,
) -> None:
    """Writes the folder; `verses`: for training, and held out."""
    training, test = verses
    score = f"perplexity {surprise(model, tokenizer, test)}"
    learning.store(
        name,
        (model, tokenizer),
        about=about,
        data=DATA,
        score=f"{score}; the tokens' frequencies would give {frequency_surprise(tokenizer, training, test)}",
        sample=sample_rows(test),
        seconds=seconds,
    )


def gpt2_verses_lora() -> None:
    from peft import LoraConfig, TaskType, get_peft_model

    training, test = ([plain(verse) for verse in verses] for verses in split())
    tokenizer = GPT2Tokenizer.from_pretrained(learning.ASSETS / BASE)
    model = GPT2LMHeadModel.from_pretrained(learning.ASSETS / BASE)
    rows = sample_rows(test)
    prompts = [row["prompt"] for row in rows]
    before = surprise(model, tokenizer, test), _plain_share(continuations(model, tokenizer, prompts))
    targets = ["c_attn", "c_proj"]
    model = get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=8,
            lora_alpha=16,
            target_modules=targets,
            fan_in_fan_out=True,  # they are Conv1D, whose weights are [in, out]
        ),
    )
    saved = model.peft_config["default"]
    saved.base_model_name_or_path = BASE  # not this machine's folder
    saved.target_modules = targets  # peft makes it a set, which is written in another order each time
    seconds = learning.train(model, packed(tokenizer, training), collate, steps=200, rate=5e-3, batch=8)
    after = surprise(model, tokenizer, test), _plain_share(continuations(model, tokenizer, prompts))
    learning.store(
        "gpt2-verses-lora",
        (model,),
        about=f"A LoRA adapter (r=8) for {BASE}: verses in lower case, without punctuation. The tokenizer is the base's.",
        data=DATA,
        score=f"perplexity {after[0]}, and {after[1]:.0%} of greedy continuations are letters and spaces only;"
        f" the base has {before[0]}, and {before[1]:.0%}",
        sample=rows,
        seconds=seconds,
    )


def _plain_share(texts: list[str]) -> float:
    return sum(re.fullmatch(r"[a-z ]+", text) is not None for text in texts) / len(texts)
