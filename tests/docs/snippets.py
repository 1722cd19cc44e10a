"""The code in the documentation: which blocks a page has, and the session of a reader who types them from top to bottom.

- `bash` blocks are run by one shell for each page; `python` blocks are programs that it runs.
- A block of any language with `title="FILE"` is a file that the reader writes. `text` blocks show outputs.
- A block after `<!-- needs: WHAT -->` needs what tests lack. The comment `reader` says what a page's reader has, as `given`:
  `folders` and `files` of tests/assets, folders of the `project`, `entries` of model_repository, a server (`served`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt

from .pages import DOCS, ROOT

#: What a reader follows, from top to bottom.
FOLLOWED = [
    *(ROOT / "README.md", DOCS / "index.md", DOCS / "install.md"),
    *sorted((DOCS / "tutorial").glob("*.md")),
    *sorted((DOCS / "how-to").glob("*.md")),
]
#: What a reader looks things up in: its blocks stand for themselves.
LOOKED_UP = sorted({*DOCS.rglob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"} - {*FOLLOWED})

_READER = re.compile(r"^<!-- reader\n(.*?)\n-->$", re.DOTALL | re.MULTILINE)
_NEEDS = re.compile(r"<!-- needs: (.+?) -->\s*\Z")
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced block. `needs`: what it needs that tests do not have. `title`: the file that it is."""

    page: Path
    line: int
    language: str
    title: str | None
    needs: str | None
    text: str

    @property
    def runs(self) -> bool:
        return self.needs is None and (self.title is not None or self.language in ("bash", "python"))

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Page:
    """A page with its blocks. `given`: what its reader has, by kind. `slow`: following it takes more than half a minute."""

    path: Path
    blocks: tuple[Block, ...]
    given: Mapping[str, Any]
    slow: bool

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))


def read_page(path: Path) -> Page:
    """Reads a page. A fence that a reader sees and this does not, as in an indented admonition, is an error."""
    text = path.read_text(encoding="utf-8")
    reader = _READER.search(text)
    about = yaml.safe_load(reader[1]) if reader else {}
    blocks = tuple(_blocks(path, text))
    fences = len(re.findall(r"^\s*```", text, re.MULTILINE))
    assert fences == 2 * len(blocks), f"{path}: {fences} lines with ```, for {len(blocks)} blocks"
    return Page(path, blocks, about.get("given", {}), about.get("slow", False))


def _blocks(path: Path, text: str) -> Iterator[Block]:
    lines = text.splitlines(keepends=True)
    for token in MarkdownIt().parse(text):
        if token.type == "fence" and token.map:
            language, _, rest = token.info.strip().partition(" ")
            title = _TITLE.search(rest)
            needs = _NEEDS.search("".join(lines[: token.map[0]]))
            yield Block(path, token.map[0] + 1, language, title and title[1], needs and needs[1], token.content)


def session(page: Page, programs: Path, before: str = "") -> str:
    """The shell script of a reader who types a page's blocks. `before`: what was typed earlier. Files are kept in `programs`."""
    script = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT", before]
    for number, block in enumerate(page.blocks):
        if not block.runs:
            continue
        script.append(f"echo '@ {block.place}' >&2")
        if block.title is None and block.language == "bash":
            script.append(block.text)
            continue
        kept = programs / f"{number}.py"
        kept.write_text(block.text, encoding="utf-8")
        if block.title is None:
            script.append(f"python {shlex.quote(str(kept))}")
        else:
            script.append(f"mkdir -p $(dirname {block.title}) && cp {shlex.quote(str(kept))} {block.title}")
    return "\n".join(script) + "\n"


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a bash block, as words, without assignments before them."""
    text = re.sub(r"(^|\s)#.*$", r"\1", text.replace("\\\n", " "), flags=re.MULTILINE)
    lexer = shlex.shlex(text, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    words: list[str] = []
    for word in [*lexer, ";"]:
        if not re.fullmatch(r"[();<>|&\n]+", word) or word[0] in "<>":
            words.append(word)
            continue
        while words and re.match(r"\w+=", words[0]):
            words.pop(0)
        if words:
            yield words
        words = []
