"""What the site makes from the code when it is built: a line `{{ name }}` of a page becomes the text of `TABLES[name]`.

The changelog and the JSON schemas are copied into the site from where they are kept.
"""

from __future__ import annotations

import re
from importlib.resources import files as package_files
from pathlib import Path

import tables
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from hf2triton.cli.schema import SCHEMAS

_LINE = re.compile(r"^\{\{ (\w+) \}\}$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the changelog as a page, and the schemas as files to download."""
    changelog = Path(config.config_file_path).with_name("CHANGELOG.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "changelog.md", content=changelog))
    for name, (package, place) in SCHEMAS.items():
        schema = package_files(package).joinpath(place).read_text(encoding="utf-8")
        files.append(File.generated(config, f"reference/{name}.schema.json", content=schema))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fills in a page's tables."""

    def filled(found: re.Match[str]) -> str:
        if found[1] not in tables.TABLES:
            raise PluginError(f"{page.file.src_uri}: {found[0]} is none of {', '.join(sorted(tables.TABLES))}")
        return tables.TABLES[found[1]]()

    return _LINE.sub(filled, markdown)
