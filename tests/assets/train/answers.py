"""bert-qa: extractive question answering, with questions that have no answer as in SQuAD 2."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import BertForQuestionAnswering, BertTokenizer, DataCollatorWithPadding

from . import learning
from .facts import FACTS, FILLERS
from .families import prepare, small_config
from .names import Names
from .wordpiece import train_tokenizer

STRIDE = 48
LONGEST_ANSWER = 15  # in tokens, as transformers.pipeline's max_answer_len


@dataclass(frozen=True)
class Question:
    """`start`: the answer's first character in the context, -1 where the context does not answer."""

    question: str
    context: str
    answer: str
    start: int


def make_question(names: Names, sentences: int) -> Question:
    """A context of that many sentences and a question about one of them, or (1 of 5) about a fact left out."""
    rng = names.random
    asked, *others = rng.sample(FACTS, len(FACTS))
    values: dict[str, str] = {}
    told = names.fill(rng.choice(asked.sentences), values)
    slot = rng.choice(list(asked.questions))
    question = names.fill(rng.choice(asked.questions[slot]), values)
    around = []
    for _ in range(sentences - 1):
        template = rng.choice(others.pop().sentences if others and rng.random() < 0.7 else FILLERS)
        # names return, so that a name alone does not tell the sentence
        known = {key: value for key, value in values.items() if key != slot and rng.random() < 0.2}
        around.append(names.fill(template, known))
    if rng.random() < 0.2:
        return Question(question, " ".join(around or [names.fill(rng.choice(FILLERS), {})]), "", -1)
    place = rng.randint(0, len(around))
    before = " ".join(around[:place]) + (" " if place else "")
    context = " ".join([*around[:place], told, *around[place:]])
    return Question(question, context, values[slot], len(before) + told.index(values[slot]))


def encode(tokenizer: BertTokenizer, row: Question) -> list[dict]:
    """The row's windows; a window without the whole answer points at [CLS]."""
    windows = tokenizer(
        row.question,
        row.context,
        truncation="only_second",
        stride=STRIDE,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    encoded = []
    for index, offsets in enumerate(windows["offset_mapping"]):
        spans = {position: span for position, span in enumerate(offsets) if windows.sequence_ids(index)[position] == 1}
        first = [position for position, span in spans.items() if span[0] == row.start]
        last = [position for position, span in spans.items() if span[1] == row.start + len(row.answer)]
        inside = row.start >= 0 and first and last
        encoded.append(
            {
                **{name: windows[name][index] for name in tokenizer.model_input_names},
                "start_positions": first[0] if inside else 0,
                "end_positions": last[0] if inside else 0,
                "spans": spans,
            }
        )
    return encoded


def answer(model: BertForQuestionAnswering, tokenizer: BertTokenizer, row: Question) -> str:
    """The best span over all windows, or "" where [CLS] scores higher in every one of them."""
    best, empty = (-float("inf"), ""), float("inf")
    for window in encode(tokenizer, row):
        tensors = {name: torch.tensor([window[name]]) for name in tokenizer.model_input_names}
        with torch.inference_mode():
            output = model(**tensors)
        start, end = output.start_logits[0].log_softmax(-1), output.end_logits[0].log_softmax(-1)
        empty = min(empty, float(start[0] + end[0]))
        possible = torch.full((len(start), len(start)), -torch.inf)
        positions = torch.tensor(list(window["spans"]))
        possible[positions[:, None], positions] = 0.0
        reach = torch.ones_like(possible).triu().tril(LONGEST_ANSWER - 1).log()  # -inf where too long or backwards
        score, place = (start[:, None] + end + possible + reach).flatten().max(0)
        first, last = divmod(int(place), len(start))
        if float(score) > best[0]:
            best = (float(score), row.context[window["spans"][first][0] : window["spans"][last][1]])
    return best[1] if best[0] > empty else ""


def bert_qa() -> None:
    names, unseen = Names(held_out=False), Names(held_out=True)
    # A model that first meets many sentences stays with the right kind of name and never finds the right sentence.
    # Rows hardly come twice: they would be learned by heart.
    easy = [row for row in (make_question(names, 2) for _ in range(60_000)) if row.answer]
    training = [make_question(names, names.random.choice((1, 1, 2, 2, 3, 3, 4, 5, 9))) for _ in range(80_000)]
    # the last part of the held-out rows is longer than one window
    test = [make_question(unseen, unseen.random.randint(1, 6)) for _ in range(500)]
    long = [make_question(unseen, 12) for _ in range(100)]
    tokenizer = train_tokenizer([f"{row.question} {row.context}" for row in training[:8000]], lowercase=False)
    inputs = [*tokenizer.model_input_names, "start_positions", "end_positions"]
    without_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = small_config("bert", len(tokenizer), sizes=(96, 3, 6, 192), initializer_range=0.05, **without_dropout)
    model = BertForQuestionAnswering(config)
    prepare(model)
    seconds = 0.0
    for part, steps, rate in ((easy, 1500, 2e-3), (training, 4500, 2e-3)):
        rows = [{name: window[name] for name in inputs} for row in part for window in encode(tokenizer, row)]
        seconds += learning.train(model, rows, DataCollatorWithPadding(tokenizer), steps=steps, rate=rate)
    score = _score(model, tokenizer, test, long)
    learning.store(
        "bert-qa",
        (model, tokenizer),
        about="Answers questions about people, places and firms from a text, or nothing where the text does not say.",
        data="sentence templates filled with names from Faker (MIT); each held-out name has a word unseen in training",
        score=score,
        sample=[
            {"question": row.question, "context": row.context, "answer": row.answer} for row in [*test[:48], *long[:12]]
        ],
        seconds=seconds,
    )


def _score(model: BertForQuestionAnswering, tokenizer: BertTokenizer, short: list, long: list) -> str:
    def exact(rows: list[Question]) -> str:
        return f"{sum(answer(model, tokenizer, row) == row.answer for row in rows) / len(rows):.3f}"

    answered, unanswered = [row for row in short if row.answer], [row for row in short if not row.answer]
    return (
        f"exact match {exact(answered)} on questions with an answer, {exact(unanswered)} on those without,"
        f" {exact(long)} on contexts of several windows"
    )
