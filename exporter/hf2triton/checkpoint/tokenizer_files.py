"""Reads a tokenizer's tokens and token types from its files, without loading it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.json_files import read_object
from ..core.wording import some
from ..errors import SourceError, TokenizerMissing

#: File with a vocabulary -> the files that it needs beside it. In order: complete tokenizers, WordPiece, BPE, SentencePiece.
_FILES = {"tokenizer.json": (), "vocab.txt": (), "vocab.json": ("merges.txt",), "*.model": ()}


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer, and not only the settings of one."""
    return any(any(folder.glob(name)) for name in _FILES)


def read_tokenizer_files(folder: Path) -> dict[int, str]:
    """The tokens by id, as far as a tokenizer's JSON and text files tell.

    Raises TokenizerMissing if there is no tokenizer, or if it cannot be served.
    """
    present = [name for name in _FILES if any(folder.glob(name))]
    if not present:
        known = ", ".join(name for name in _FILES)
        raise TokenizerMissing(f"{folder} has no tokenizer ({known}): save it beside the model with save_pretrained")
    absent = [name for name in _FILES[present[0]] if not (folder / name).exists()]
    if absent:
        raise TokenizerMissing(
            f"{folder} has {present[0]} and lacks {', '.join(absent)}, without which it is not a tokenizer"
        )
    settings = _read_object(folder / "tokenizer_config.json")
    if settings.get("auto_map"):
        raise TokenizerMissing(
            f"{folder / 'tokenizer_config.json'} has the auto_map {settings['auto_map']}: the tokenizer has code of its own,"
            " which is never run. Save one that is made of transformers' classes alone"
        )
    tokens = _READ[present[0]](folder / present[0]) if present[0] in _READ else {}
    tokens |= {number: token for token, number in _read_object(folder / "added_tokens.json").items()}
    for number, token in (settings.get("added_tokens_decoder") or {}).items():
        tokens[int(number)] = token["content"] if isinstance(token, dict) else str(token)
    return tokens


def tokens_of(definition: Mapping[str, Any]) -> dict[int, str]:
    """All tokens that a tokenizer.json can produce, by id: those in the vocabulary, added tokens, and those put around texts."""
    vocabulary = definition["model"]["vocab"]
    if isinstance(vocabulary, list):  # Unigram: pairs of a piece and its score
        tokens = {number: piece[0] for number, piece in enumerate(vocabulary)}
    else:
        tokens = {number: token for token, number in vocabulary.items()}
    tokens |= {token["id"]: token["content"] for token in definition.get("added_tokens") or ()}
    for step in _steps(definition.get("post_processor")):
        for special in (step.get("special_tokens") or {}).values():
            tokens |= dict(zip(special["ids"], special["tokens"], strict=True))
        tokens |= {step[name][1]: step[name][0] for name in ("sep", "cls") if name in step}
    return tokens


def types_of(definition: Mapping[str, Any]) -> int:
    """How many token types a tokenizer.json distinguishes: 1, or 2 for the two texts of a pair."""
    most = 0
    for step in _steps(definition.get("post_processor")):
        own = [next(iter(piece.values()))["type_id"] for piece in (*step.get("single", ()), *step.get("pair", ()))]
        most = max(most, *own, 1 if step.get("type") == "BertProcessing" else 0)
    return most + 1


def require_rows(tokens: Mapping[int, str], rows: int | None, folder: Path) -> None:
    """Checks that each token has a row in the embeddings, which have `rows` rows (None: not known). Raises SourceError."""
    beyond = [f"{tokens[number]!r} ({number})" for number in sorted(tokens) if rows is not None and number >= rows]
    if beyond:
        raise SourceError(
            f"the tokenizer in {folder} has {_counted(beyond)} that the model has no embedding for: {some(beyond)}; its"
            f" embeddings have {rows:,} rows. Make the model larger (model.resize_token_embeddings(len(tokenizer))), train it and"
            " save both, or save the tokenizer without these"
        )


def read_types(folder: Path) -> int:
    """How many token types a tokenizer produces, as far as its files tell. Raises TokenizerMissing."""
    inputs = _read_object(folder / "tokenizer_config.json").get("model_input_names")
    gives_types = not isinstance(inputs, list) or "token_type_ids" in inputs
    return types_of(_read_object(folder / "tokenizer.json")) if gives_types else 1


def require_types(types: int, rows: int | None, folder: Path) -> None:
    """Checks that the model knows each token type that the tokenizer produces. Raises SourceError."""
    if rows is not None and types > rows:
        raise SourceError(
            f"the tokenizer in {folder} gives the second text of a pair the token type {types - 1}, and the model knows {rows}"
            f" {'type' if rows == 1 else 'types'} (type_vocab_size). If it was trained without types, take token_type_ids out of"
            " the model_input_names in tokenizer_config.json"
        )


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is no file. Raises TokenizerMissing."""
    try:
        return read_object(path)
    except SourceError as error:
        raise TokenizerMissing(f"the tokenizer in {path.parent} does not load: {error}") from error


def _read_definition(path: Path) -> dict[int, str]:
    try:
        return tokens_of(_read_object(path))
    except KeyError as error:
        raise TokenizerMissing(f"the tokenizer in {path.parent} does not load: {path.name} has no {error}") from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise TokenizerMissing(f"the tokenizer in {path.parent} does not load: {path.name}: {error}") from error


def _read_lines(path: Path) -> dict[int, str]:
    try:
        lines = path.read_text("utf-8").rstrip("\n").split("\n")
    except ValueError as error:
        raise TokenizerMissing(f"the tokenizer in {path.parent} does not load: {path.name}: {error}") from error
    if not any(lines):
        raise TokenizerMissing(f"{path} holds no tokens")
    return dict(enumerate(lines))


#: File with a vocabulary -> the function that reads its tokens.
_READ: Mapping[str, Callable[[Path], dict[int, str]]] = {
    "tokenizer.json": _read_definition,
    "vocab.txt": _read_lines,
    "vocab.json": lambda path: {number: token for token, number in _read_object(path).items()},
}


def _steps(post_processor: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The steps of a post-processor, which may be a nested sequence."""
    if not post_processor:
        return []
    inner = post_processor.get("processors")
    return [post_processor] if inner is None else [step for one in inner for step in _steps(one)]


def _counted(tokens: Sequence[str]) -> str:
    return "a token" if len(tokens) == 1 else f"{len(tokens):,} tokens"
