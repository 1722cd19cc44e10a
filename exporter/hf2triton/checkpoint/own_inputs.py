"""Parity inputs made from the checkpoint itself: its added tokens, its labels, pairs of texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from ..core.types import Checkpoint
from ..tasks.base import Endpoint, Inputs
from ..triton_models.preprocessor import Preprocessor
from ..triton_models.text_preprocessor import TextPreprocessor
from .parts import mask_token_of, max_length_of, sentences_of, tokenizer_of
from .sample_inputs import texts

#: The description of texts that are made from the checkpoint.
OWN = "texts of its own"
#: Where callers type a token: first, between words, within a word, doubled, last.
_FORMS = "{0} Maria {0} went{0}to {0}{0} Paris {0}"
#: A shorter form for later tokens, and how many tokens get the full form.
_SHORT, _IN_FULL = "a{0} {0}{0}", 64
#: The maximum number of tokens in a text that is made of forms.
_ROOM = 128


def own_inputs(checkpoint: Checkpoint, endpoint: Endpoint, preprocessor: Preprocessor) -> dict[str, Inputs]:
    """Description -> inputs for one part of a task. Empty if the checkpoint contributes none, as for images."""
    if not isinstance(preprocessor, TextPreprocessor):
        return {}
    own = own_texts(checkpoint, min(_ROOM, max_length_of(checkpoint)))
    return {
        about: inputs
        for about, inputs in _OF_PREPROCESSOR[endpoint.preprocessor](checkpoint, own).items()
        if any(inputs.values())
    }


def own_texts(checkpoint: Checkpoint, room: int) -> tuple[str, ...]:
    """Texts of at most `room` tokens, including special ones, with every added token in the forms that callers type; then the
    checkpoint's labels. A token whose form does not fit gets a separate text, which is truncated."""
    from tokenizers import Tokenizer

    definition = tokenizer_of(checkpoint).definition
    tokenizer = Tokenizer.from_str(definition)  # the preprocessor's truncates texts
    added = json.loads(definition).get("added_tokens") or ()
    forms = [(_FORMS if index < _IN_FULL else _SHORT).format(token["content"]) for index, token in enumerate(added)]
    labels = ", ".join(map(str, checkpoint.id2label.values()))
    return (*_packed(forms, lambda text: len(tokenizer.encode(text)) <= room), *filter(None, [labels]))


def _packed(forms: Sequence[str], fits: Callable[[str], bool]) -> Iterator[str]:
    """Packs as many forms into each text as fit."""
    text = ""
    for form in forms:
        longer = f"{text} {form}" if text else form
        if text and not fits(longer):
            yield text
            longer = form
        text = longer
    if text:
        yield text


def _texts_and_pairs(checkpoint: Checkpoint, own: Sequence[str]) -> dict[str, Inputs]:
    """Texts, including an empty one; and pairs: both short, one long, both long, and with the checkpoint's tokens."""
    long, other = sorted(texts(), key=len)[:-3:-1]
    short = "It is a chair."
    pairs = [(short, "Is it?"), (long, short), (short, long), (long, other), *zip(own[:1], own[-1:], strict=True)]
    first, second = zip(*pairs, strict=True)
    return {OWN: {"text": (*own, "")}, "pairs": {"text": first, "text_pair": second}}


def _pairs(checkpoint: Checkpoint, own: Sequence[str]) -> dict[str, Inputs]:
    """Only pairs: the checkpoint's texts as documents, and the pairs of `_texts_and_pairs`."""
    pairs = _texts_and_pairs(checkpoint, own)["pairs"]
    return {OWN: {"text": ("Who is Maria?",) * (len(own) + 1), "text_pair": (*own, "")}, "pairs": pairs}


def _questions(checkpoint: Checkpoint, own: Sequence[str]) -> dict[str, Inputs]:
    """A question about each text, which quotes its beginning."""
    asked = tuple(f"Who is {text.partition(' Maria')[0]}?" for text in own)
    return {OWN: {"text": asked, "text_pair": tuple(own)}}


def _masked(checkpoint: Checkpoint, own: Sequence[str]) -> dict[str, Inputs]:
    """Texts with a mask. Texts without one get it at the beginning, where it is not truncated."""
    mask = mask_token_of(checkpoint)
    return {OWN: {"text": tuple(text if mask in text else f"{mask} {text}" for text in own)}}


def _sentences(checkpoint: Checkpoint, own: Sequence[str]) -> dict[str, Inputs]:
    """Texts and pairs after the default prompt, and a text after each named prompt."""
    groups = {
        about: {**inputs, "parameters": ("{}",) * len(inputs["text"])}
        for about, inputs in _texts_and_pairs(checkpoint, own).items()
    }
    return {**groups, **_named_prompts(checkpoint)}


def _sparse(checkpoint: Checkpoint, own: Sequence[str]) -> dict[str, Inputs]:
    """Texts, including an empty one, after the default prompt, and a text after each named prompt."""
    whole = (*own, "")
    return {OWN: {"text": whole, "parameters": ("{}",) * len(whole)}, **_named_prompts(checkpoint)}


def _named_prompts(checkpoint: Checkpoint) -> dict[str, Inputs]:
    named = tuple(json.dumps({"prompt_name": name}, ensure_ascii=False) for name in sentences_of(checkpoint).prompts)
    return {"prompts": {"text": ("It is a chair.",) * len(named), "parameters": named}}


#: Kind of preprocessor -> the function that makes inputs from the checkpoint's texts.
_OF_PREPROCESSOR: Mapping[str, Callable[[Checkpoint, Sequence[str]], dict[str, Inputs]]] = {
    "text": _texts_and_pairs,
    "sentence": _sentences,
    "pair": _pairs,
    "sparse-text": _sparse,
    "question": _questions,
    "masked-text": _masked,
}
