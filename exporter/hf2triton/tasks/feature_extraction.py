"""The states of all tokens."""

from .base import AnswerSchema, Endpoint, Output, Task
from .common.schemas import TEXTS, text, vector
from .common.tolerances import STATES

TASK = Task(
    "feature-extraction",
    has_head=False,
    endpoints=(Endpoint("text", "text", (Output("last_hidden_state", "token", STATES),)),),
    schema=AnswerSchema(
        TEXTS,
        text,
        lambda pa, options: pa.list_(pa.list_(vector(pa, options))),
        uniform=lambda states: [list(state) for state in states],
        always=(("return_tensors", True),),  # lists of Python floats take ten times the memory
    ),
)
