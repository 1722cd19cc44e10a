"""Pipeline arguments from the words on a command line, for tasks that do not take a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import UsageError


def compared(given: Sequence[str]) -> dict[str, Any]:
    """The first text, and the texts that it is compared with."""
    return {"source_sentence": given[0], "sentences": list(given[1:])}


def query_and_documents(given: Sequence[str]) -> dict[str, Any]:
    """The query, and the documents to rank. Raises UsageError."""
    if len(given) < 2:
        raise UsageError("rerank takes a query and then the documents to rank; there is no document")
    return {"query": given[0], "documents": list(given[1:])}


def questions_in_turn(given: Sequence[str]) -> list[dict[str, str]]:
    """Questions with their contexts, from words in which they alternate. Raises UsageError."""
    if len(given) % 2:
        raise UsageError(
            "question-answering takes a question and its context in turn; the last question has no context"
        )
    return [{"question": given[index], "context": given[index + 1]} for index in range(0, len(given), 2)]
