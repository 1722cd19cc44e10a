"""The rows of the table in `errors.py`: they map a message, with its status and origin, to an error.

A message of Triton or gRPC is recognised only as a whole and only with its status. hf2triton's models put their own words
before what they say about an input ("input 3: …", "the parameters are …"), so an input's content cannot be mistaken for such a
message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

E = TypeVar("E", bound=Exception, covariant=True)


class Origin(Enum):
    """The program that wrote a message. gRPC's and Triton's messages contain nothing from an input but the name of a model
    or a tensor."""

    GRPC = "gRPC"
    TRITON = "Triton"
    ANYONE = "anyone"


class Reason(Enum):
    """What a server means by an error, if the error's class alone does not say how to react."""

    #: The version served now expects other requests: another batch size, other inputs or outputs.
    DOES_NOT_FIT = "does not fit"
    #: The server no longer has the model, or has not reloaded it yet.
    GONE = "gone"
    #: The model's process has ended.
    MODEL_DIED = "model died"
    #: The call requires a header, `about["header"]`.
    RESTRICTED = "restricted"
    #: The server does not run with explicit model control.
    NOT_EXPLICIT = "not explicit"
    #: The server's repository has no such model.
    NOT_IN_REPOSITORY = "not in repository"
    #: A request still uses the shared memory.
    IN_USE = "in use"


@dataclass(frozen=True)
class Row(Generic[E]):
    """A message and the error it becomes.

    `says`: matches the whole message; None matches any other message with the status. `what`: the error's text, with
    `{message}`, `{url}`, `{hint}` and the named groups of `says`. `hints`: whether the client uses TLS -> what may help.
    """

    code: str
    origin: Origin
    says: re.Pattern[str] | None
    error: type[E]
    what: str
    reason: Reason | None = None
    hints: Mapping[bool, str] = field(default_factory=lambda: {False: "", True: ""})

    def match(self, message: str) -> Mapping[str, str] | None:
        """The named groups of a message that matches this row, or None if it does not match."""
        if self.says is None:
            return {}
        found = self.says.fullmatch(message)
        return None if found is None else found.groupdict()

    def text(self, message: str, url: str, tls: bool, about: Mapping[str, str]) -> str:
        return self.what.format(message=message, url=url, hint=self.hints[tls], **about)


def row(code: str, origin: Origin, says: str, error: type[E], what: str, reason: Reason | None = None) -> Row[E]:
    """A row for a sentence of gRPC or Triton. A dot in `says` also matches a line end."""
    return Row(code, origin, re.compile(says, re.DOTALL), error, what, reason)


def otherwise(code: str, error: type[E], what: str) -> Row[E]:
    """The row for any other message with a status."""
    return Row(code, Origin.ANYONE, None, error, f"{what} (at {{url}}): {{message}}")
