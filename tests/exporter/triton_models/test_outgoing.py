"""Text for Triton: whatever an object is or says, a short valid text comes of it."""

import ast
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf2triton import triton_models as frontends
from hf2triton.triton_models.outgoing import MAX_MESSAGE_BYTES, encoded, message

SERVED_CODE = Path(frontends.__file__).parent


class Silent(Exception):
    def __init__(self, raises):
        self.raises = raises

    def __str__(self):
        raise self.raises


class Panic(BaseException):
    pass


class Odd(str):
    """A str whose methods fail."""

    def __len__(self):
        raise MemoryError

    __getitem__ = encode = replace = __str__ = __len__


OBJECTS = [
    Silent(RuntimeError()),
    Silent(Panic()),
    Silent(SystemExit()),
    Silent(MemoryError()),
    Odd("x"),
    Panic("\ud800"),
    ValueError(),
    b"\xff",
    None,
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
]


def assert_can_be_sent(text: str) -> None:
    assert type(text) is str
    assert len(text.encode("utf-8")) <= MAX_MESSAGE_BYTES + 250
    assert "\0" not in text


@given(
    st.text(alphabet=st.characters(exclude_categories=()), max_size=200) | st.sampled_from(OBJECTS),
    st.integers(1, 3000),
)
def test_a_message_can_always_be_sent(value, times):
    """Lone surrogates, NUL, any length, and objects whose text cannot be made."""
    assert_can_be_sent(message(value * times if isinstance(value, str) and type(value) is str else value))
    assert_can_be_sent(message(message(value)))


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
def test_a_message_says_something(value):
    """Also that of an error without words."""
    assert message(value)
    assert "ValueError" in message(ValueError())


@given(st.text())
def test_what_is_in_order_stays(text):
    """A short valid message is unchanged but for NUL, and a text that is an answer is unchanged in whatever length."""
    assert message(text).replace("\\x00", "\0") == text.replace("\\x00", "\0") or len(text.encode()) > MAX_MESSAGE_BYTES
    assert encoded(text * 50) == (text * 50).encode()


def test_megabytes_are_cut_with_a_note():
    """The note says how long the text was; a message that was cut is not cut again within another."""
    once = message("é" * 5_000_000)
    assert once.endswith(" … (cut; it has 5,000,000 characters)")
    assert message(f"input 0: {once}") == f"input 0: {once}"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a limit of the interpreter that older ones do not have")
def test_numbers_that_python_does_not_spell_are_told_all_the_same():
    """`str` raises for more than 4,300 digits."""
    assert "int, whose text cannot be made: ValueError" in message(10**5000)


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_an_answer_is_valid_whatever_it_holds(text):
    """What is no character becomes one that stands for it, one for one."""
    assert len(encoded(text).decode("utf-8")) == len(text)


def test_no_other_text_reaches_triton():
    """Nothing else in served code encodes a text but for itself: to try whether it can be, for a digest, for a pattern."""
    for path in [*SERVED_CODE.rglob("*.py"), SERVED_CODE.parent / "serving" / "onnxruntime_backend" / "model.py"]:
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        encodes = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "encode"]
        found = [call.lineno for call in encodes if not call.args or isinstance(call.args[0], ast.Constant)]
        assert not found or path.name in (
            "backlog.py",
            "fingerprint.py",
            "long_texts.py",
            "outgoing.py",
            "parameters.py",
        ), path
