"""The site as a reader sees it: built strictly, complete, and whole in a browser on a desk and on a telephone."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

import hf2triton_client
from hf2triton.cli import main

from ..browser import chromium
from .pages import DOCS, ROOT

#: Attributes that make a browser load something. A link (`a href`) is not followed.
LOADING = {
    "script": "src",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def url(site):
    """Where the site is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    with chromium() as own:
        yield own


class Loaded(HTMLParser):
    """What a page makes a browser load, and the ids in it."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        own = {name: value or "" for name, value in attrs}
        self.ids.add(own.get("id"))
        if tag in LOADING:
            self.addresses.append(own.get(LOADING[tag], ""))
        if tag == "link" and own.get("rel") not in ("canonical", "prev", "next"):
            self.addresses.append(own["href"])
        self.addresses += re.findall(r"url\(([^)]*)\)", own.get("style", ""))


def pages(site):
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")


def test_every_page_is_in_the_navigation(site):
    """The navigation names every page in docs/, and the changelog, which is included from the top."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def named(items):
        for item in items:
            for value in item.values() if isinstance(item, dict) else [item]:
                yield from named(value) if isinstance(value, list) else [value]

    written = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    assert sorted(named(config["nav"])) == sorted([*written, "changelog.md"])
    assert len(pages(site)) == len(written) + 1


def test_nothing_comes_from_another_host(site):
    """No page, and no style sheet, names a script, style, image or font of another host."""
    loaded = {path: Loaded(path.read_text(encoding="utf-8")).addresses for path in [*pages(site), site / "404.html"]}
    styles = {
        path: re.findall(r"(?:url\(|@import )[\"']?([^\"')]*)", path.read_text(encoding="utf-8"))
        for path in site.rglob("*.css")
    }
    assert len(loaded) > 20
    assert len(styles) >= 3
    addresses = [(path, address) for path, own in {**loaded, **styles}.items() for address in own]
    assert [found for found in addresses if re.match(r"(https?:)?//", found[1].strip("\"'"))] == []


def test_the_client_is_documented(site):
    """The client's page describes everything that the package exports."""
    ids = Loaded((site / "reference/python-client/index.html").read_text(encoding="utf-8")).ids
    assert [name for name in hf2triton_client.__all__ if f"hf2triton_client.{name}" not in ids] == []


def test_commands_are_documented(site):
    """The page has every command, under its name, with its options and their defaults."""
    text = (site / "reference/commands/index.html").read_text(encoding="utf-8")
    assert [name for name in main.commands if name not in Loaded(text).ids] == []
    shown = " ".join(text.split())  # options are wrapped
    assert "hf2triton export [OPTIONS] SOURCE" in shown
    assert "[default: localhost:8001]" in shown
    assert "Sentinel" not in text


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_in_a_browser(browser, site, url, width):
    """Every page, light and dark: it loads nothing from elsewhere, has nothing to complain of, and is as wide as the window; what
    is wider scrolls by itself."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="light")
    elsewhere, complaints, faults = [], [], []
    page.on("request", lambda request: request.url.startswith((url, "data:")) or elsewhere.append(request.url))
    page.on("console", lambda message: complaints.append((page.url, message.text)))
    page.on("pageerror", lambda error: complaints.append((page.url, str(error))))
    for path in pages(site):
        page.emulate_media(color_scheme="light")
        page.goto(url + path.relative_to(site).as_posix().removesuffix("index.html"))
        for scheme, palette in (("light", "default"), ("dark", "slate")):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_selector(f"body[data-md-color-scheme={palette}]", state="attached")
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                faults.append((path.relative_to(site).as_posix(), scheme, wide))
    page.close()
    assert (elsewhere, complaints, faults) == ([], [], [])


def test_search(browser, url):
    """The search finds pages without asking another host."""
    page = browser.new_page()
    page.goto(url)
    page.locator("input.md-search__input").fill("deadline")
    page.locator(".md-search-result__item").first.wait_for()
    assert "DeadlineExceeded" in page.locator(".md-search-result__list").inner_text()
    page.close()
