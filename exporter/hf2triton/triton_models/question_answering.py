"""Extractive question answering: cuts a context into windows, and finds the spans of it that answer a question.

Follows the question-answering pipeline of transformers 4.57 with a fast tokenizer step by step, so that the answers are the same
(src/transformers/pipelines/question_answering.py there; transformers 5 has no such pipeline). What seems odd below is odd there
too. Only where the original fails for lack of a check, a ValueError says what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from .long_texts import LongTexts
from .parameters import FLAG, Check, integer, parse_parameters
from .pieces import PIECE

#: The longest window unless a request sets another, and the largest overlap that goes with it.
MAX_SEQ_LEN = 384
MAX_DOC_STRIDE = 128
#: Limits that transformers does not have. They prevent one request from holding up all others.
MAX_WINDOWS = 64
MAX_TOP_K = 1000
#: The logit of tokens that cannot be in an answer. transformers uses this number, not -inf.
_MASKED = np.float32(-10000.0)


@dataclass(frozen=True)
class QuestionParameters:
    """The parameters of a request, with the names and defaults of transformers 4; lengths are in tokens.

    `doc_stride`: how much of a window the next window repeats; by default half of `max_seq_len`, at most 128.
    `max_seq_len`: the length of a window with its question; by default the model's, at most 384.
    `max_question_len`: accepted but not used, as in transformers with fast tokenizers: questions are never cut.
    `align_to_words`: answers begin and end with whole words.
    """

    top_k: int = 1
    doc_stride: int | None = None
    max_answer_len: int = 15
    max_seq_len: int | None = None
    max_question_len: int = 64
    handle_impossible_answer: bool = False
    align_to_words: bool = True

    @classmethod
    def parse(cls, text: str) -> QuestionParameters:
        """Reads a JSON object. Raises ValueError for unknown names and bad values."""
        return cls(**parse_parameters(text, _CHECKS))


_CHECKS: Mapping[str, Check] = {
    "top_k": integer(1, MAX_TOP_K),
    "doc_stride": integer(0),
    "max_answer_len": integer(1),
    "max_seq_len": integer(1),
    "max_question_len": integer(1),
    "handle_impossible_answer": FLAG,
    "align_to_words": FLAG,
}


@dataclass(frozen=True)
class Windows:
    """A question with the windows of its context. `rows`: the graph's rows, one for each window, with special tokens and without
    padding."""

    rows: tuple[Encoding, ...]
    context: str
    parameters: QuestionParameters


class QuestionEncoder:
    """Windows and answers for one model.

    `max_length`: the most tokens of a row. `cls_token_id`: None if the tokenizer has no such token.
    `padding_side`, `truncation_side`: "right" or "left", from the tokenizer's configuration. Padding on the left puts the context
    before the question; cutting on the left makes windows from the context's end.

    Not thread-safe: it keeps its own tokenizer and changes its truncation for each request.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_length: int,
        cls_token_id: int | None,
        padding_side: str = "right",
        truncation_side: str = "right",
    ) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._long = LongTexts(self._tokenizer)
        self._max_length = max_length
        self._cls_token_id = cls_token_id
        self._question_first = padding_side == "right"
        #: which of a row's two sequences is the context
        self._sequence = 1 if self._question_first else 0
        self._direction = truncation_side

    def windows(self, question: str, context: str, parameters: QuestionParameters) -> Windows:
        """Returns the rows of a question. Raises ValueError if a text is empty, lengths do not fit, or there would be too many
        windows."""
        for name, text in (("question", question), ("context", context)):
            if not text:
                raise ValueError(f"the {name} cannot be empty")
        max_seq_len = parameters.max_seq_len or min(self._max_length, MAX_SEQ_LEN)
        doc_stride = parameters.doc_stride
        if doc_stride is None:
            doc_stride = min(max_seq_len // 2, MAX_DOC_STRIDE)
        if doc_stride > max_seq_len:
            raise ValueError(f"doc_stride ({doc_stride}) is larger than max_seq_len ({max_seq_len})")
        texts = (question, context) if self._question_first else (context, question)
        row, (length, tokens) = self._read(texts)
        if min(length, max_seq_len) > self._max_length:
            raise ValueError(
                f"max_seq_len is {max_seq_len} and the text has {length} tokens; the model takes {self._max_length}"
            )
        if length > max_seq_len:
            rows = self._cut(texts, length, tokens, max_seq_len, doc_stride)
        else:
            rows = [self._tokenizer.encode(*texts) if row is None else row]
        return Windows(tuple(rows), context, parameters)

    def _read(self, texts: tuple[str, str]) -> tuple[Encoding | None, tuple[int, int]]:
        """Returns the row of both texts, or None if they are long; how many tokens it has; and how many of these are the
        context's. Raises ValueError."""
        if sum(map(len, texts)) <= PIECE:
            row = self._tokenizer.encode(*texts)
            return row, (len(row), row.sequence_ids.count(self._sequence))
        counts = []
        for text in self._long.read(texts, keep=0):
            if isinstance(text, ValueError):
                raise text
            counts.append(text.count)
        return None, (sum(counts) + self._tokenizer.num_special_tokens_to_add(True), counts[self._sequence])

    def _cut(
        self, texts: tuple[str, str], length: int, tokens: int, max_seq_len: int, doc_stride: int
    ) -> list[Encoding]:
        """The windows of a row that is too long, with `length` tokens, `tokens` of them the context's.

        Checks the lengths first: tokenizers panics if the windows would not advance, and Python cannot catch that as an ordinary
        exception.
        """
        others = length - tokens
        room = max_seq_len - others
        if room < 1:
            raise ValueError(
                f"the question is too long: with it and the special tokens a window has {others} tokens, which"
                f" leaves no room for the context in {max_seq_len}"
            )
        if doc_stride >= room:
            raise ValueError(
                f"doc_stride ({doc_stride}) must be less than the {room} tokens that the question leaves for the context"
                f" in a window of {max_seq_len}"
            )
        count = 1 - (room - tokens) // (room - doc_stride)
        if count > MAX_WINDOWS:
            raise ValueError(
                f"the context has {tokens:,} tokens, {count:,} windows; at most {MAX_WINDOWS} are taken. A shorter context"
                f" or question, a smaller doc_stride ({doc_stride}) or a larger max_seq_len ({max_seq_len}) makes fewer"
            )
        strategy = "only_second" if self._question_first else "only_first"
        self._tokenizer.enable_truncation(max_seq_len, stride=doc_stride, strategy=strategy, direction=self._direction)
        try:
            first = self._tokenizer.encode(*texts)
        finally:
            self._tokenizer.no_truncation()
        return [first, *first.overflowing]

    def answers(self, windows: Windows, logits: Sequence[NDArray[Any]]) -> list[dict[str, Any]]:
        """Returns the best answers, best first: at most `top_k` of `{"score", "start", "end", "answer"}`.

        `logits`: float32 [tokens, 2] for each row, its start and end logits. `start` and `end` count characters of the context.
        Scores are probabilities; spans with the same text, ignoring case, share an answer, whose score is their sum. The result
        is always a list, while transformers returns a single answer without a list. If the context has fewer than `top_k` spans,
        there can be answers with the score 0; which ones depends on numpy's sort.
        """
        parameters = windows.parameters
        # aligning to words makes some spans equal
        count = parameters.top_k * 2 + 10 if parameters.align_to_words else parameters.top_k
        found: dict[str, dict[str, Any]] = {}
        null_score = 1000000.0
        for row, values in zip(windows.rows, logits, strict=True):
            allowed = self._allowed(row)
            start, end = _probabilities(values, allowed)
            null_score = min(null_score, (start[0] * end[0]).item())
            start[0] = end[0] = 0.0
            offsets = row.offsets
            for first, last, score in _best_spans(start, end, allowed, count, parameters.max_answer_len):
                whole = self._whole_words(row, first, last) if parameters.align_to_words else None
                begin, stop = whole or (offsets[first][0], offsets[last][1])
                text = windows.context[begin:stop]
                answer = found.setdefault(text.lower(), {"score": 0.0, "start": begin, "end": stop, "answer": text})
                answer["score"] += score
        answers = list(found.values())
        if parameters.handle_impossible_answer:
            answers.append({"score": null_score, "start": 0, "end": 0, "answer": ""})
        return sorted(answers, key=lambda answer: answer["score"], reverse=True)[: parameters.top_k]

    def _allowed(self, row: Encoding) -> NDArray[Any]:
        """The tokens included in the softmax, bool [tokens]: the context's, and [CLS] for "no answer"; all tokens if the context
        comes first."""
        if not self._question_first:
            return np.ones(len(row), dtype=bool)
        in_context = np.array([sequence == self._sequence for sequence in row.sequence_ids])
        cls_token_id = -1 if self._cls_token_id is None else self._cls_token_id
        allowed: NDArray[Any] = in_context | (np.array(row.ids) == cls_token_id)
        return allowed

    def _whole_words(self, row: Encoding, first: int, last: int) -> tuple[int, int] | None:
        """Where the word of a span's first token begins, and that of its last token ends; None if a token belongs to no word,
        like [CLS]."""
        first_word, last_word = row.token_to_word(first), row.token_to_word(last)
        if first_word is None or last_word is None:
            return None
        begin, end = (row.word_to_chars(word, self._sequence) for word in (first_word, last_word))
        return (begin[0], end[1]) if begin and end else None


def _probabilities(logits: NDArray[Any], allowed: NDArray[Any]) -> NDArray[Any]:
    """Softmax of logits `[tokens, 2]` over the allowed tokens, float32 `[2, tokens]`."""
    # contiguous rows are summed in the same order as in transformers, so the floats are the same to the last bit
    masked = np.where(allowed, np.ascontiguousarray(logits.T, dtype=np.float32), _MASKED)
    shifted = np.exp(masked - masked.max(axis=-1, keepdims=True))
    probabilities: NDArray[Any] = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def _best_spans(
    start: NDArray[Any], end: NDArray[Any], allowed: NDArray[Any], count: int, max_answer_len: int
) -> list[tuple[int, int, float]]:
    """The first and last tokens and the scores of the `count` best allowed spans, best first."""
    # a span cannot end before it begins; the bound keeps numpy's integers from overflowing
    scores = np.tril(np.triu(np.outer(start, end)), min(max_answer_len, len(start)) - 1)
    flat = -scores.ravel()
    # exactly the calls that transformers makes, because they decide between spans with equal scores
    if count == 1:
        best = np.array([flat.argmin()])
    elif count >= len(flat):
        best = np.argsort(flat)
    else:
        best = np.argpartition(flat, count)[:count]
        best = best[np.argsort(flat[best])]
    firsts, lasts = np.unravel_index(best, scores.shape)
    return [
        (int(first), int(last), scores[first, last].item())
        for first, last in zip(firsts, lasts, strict=True)
        if allowed[first] and allowed[last]
    ]
