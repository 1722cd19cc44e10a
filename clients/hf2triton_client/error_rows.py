"""The rows of the table in `errors.py`: which message, with which status and of which origin, becomes which error.

A message that Triton or gRPC wrote is recognised as a whole, from its beginning to its end, and only under the status that it
comes with. Models of hf2triton write what they say of an input behind words of their own ("input 3: …", "the parameters are …"),
so nothing that an input holds can pass for one of those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Origin(Enum):
    """Who wrote a message. Nothing of an input is in those of gRPC and Triton, but the name of a model or a tensor."""

    GRPC = "gRPC"
    TRITON = "Triton"
    ANYONE = "anyone"


class Reason(Enum):
    """What a server means by an error, where the class of the error alone does not say what to do about it."""

    #: What serves the model now takes other requests: another batch size, other inputs or outputs.
    DOES_NOT_FIT = "does not fit"
    #: The server has the model no more, or not yet again.
    GONE = "gone"
    #: The model's process has ended.
    MODEL_DIED = "model died"
    #: The call wants a header, `about["header"]`.
    RESTRICTED = "restricted"
    #: The server is not one that is told what to load.
    NOT_EXPLICIT = "not explicit"
    #: The repository of the server has no such model.
    NOT_IN_REPOSITORY = "not in repository"
    #: A request still uses the shared memory.
    IN_USE = "in use"


@dataclass(frozen=True)
class Row:
    """A message and what becomes of it.

    `says`: the whole of the message; None for any other that comes with the status. `what`: the error's text, with `{message}`,
    `{url}`, the named groups of `says` and `{hint}`. `hints`: whether the client uses TLS -> what may help.
    """

    code: str
    origin: Origin
    says: re.Pattern[str] | None
    error: type[Exception]
    what: str
    reason: Reason | None = None
    hints: Mapping[bool, str] = field(default_factory=lambda: {False: "", True: ""})

    def match(self, message: str) -> Mapping[str, str] | None:
        """The named groups of a message that this row is about, None where it is about another."""
        if self.says is None:
            return {}
        found = self.says.fullmatch(message)
        return None if found is None else found.groupdict()

    def text(self, message: str, url: str, tls: bool, about: Mapping[str, str]) -> str:
        return self.what.format(message=message, url=url, hint=self.hints[tls], **about)


def row(code: str, origin: Origin, says: str, error: type[Exception], what: str, reason: Reason | None = None) -> Row:
    """A row whose message is a sentence of gRPC's or Triton's; a dot stands for ends of lines as well."""
    return Row(code, origin, re.compile(says, re.DOTALL), error, what, reason)


def otherwise(code: str, error: type[Exception], what: str) -> Row:
    """What becomes of any other message with a status."""
    return Row(code, Origin.ANYONE, None, error, f"{what} (at {{url}}): {{message}}")
