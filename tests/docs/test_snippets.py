"""Every command and snippet of the README, the tutorial and the how-to guides, as a reader would type them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from hf2triton.cli import main

from ..conftest import made_once, share_traces
from ..loopback import alone
from ..support import ASSETS
from .pages import ROOT
from .snippets import FOLLOWED, LOOKED_UP, Page, commands, read_page, session

READ = [read_page(path) for path in FOLLOWED]
OTHERS = [read_page(path) for path in LOOKED_UP]
BIN = Path(sys.executable).parent
SECONDS = 280
#: Typed before a page whose reader has a running server.
SERVED = "hf2triton serve >serve.log 2>&1 &\nuntil grep -q ^serving serve.log; do sleep 0.1; jobs %1 >/dev/null; done"


@pytest.fixture(scope="session")
def demo_repository(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """What `hf2triton demo --repository model_repository` leaves, as far as pages ask for it."""
    from hf2triton.build.build import build
    from hf2triton.build.plan import plan_build
    from hf2triton.demo.examples import SHOWS, declared

    cases = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    followed = [case["page"] for case in cases if isinstance(case.get("page"), Page)]
    wanted = {name for page in followed for name in page.given.get("entries", ())}

    def make(folder: Path) -> None:
        share_traces(folder.parents[1])
        shows = tuple(show for show in SHOWS if show.name in wanted)
        assert {show.name for show in shows} == wanted
        for built in build(plan_build(declared(shows, folder)), lambda stage, done: None, fail_fast=True):
            assert built.error is None, built.error

    return made_once(tmp_path_factory, "demo", make)


def lay_out(page: Page, folder: Path, repository: Path) -> None:
    """Gives the reader what the page says that they have."""
    for name, source in {**page.given.get("folders", {}), **page.given.get("files", {})}.items():
        copy = shutil.copytree if (ASSETS / source).is_dir() else shutil.copy
        copy(ASSETS / source, folder / name)
    if wanted := page.given.get("project"):
        listed = subprocess.run(
            ["git", "ls-files", "-z", *wanted], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for entry in page.given.get("entries", ()):
        for source in repository.iterdir():
            if source.name == entry or source.name.startswith(f"{entry}_"):
                shutil.copytree(source, folder / "model_repository" / source.name, dirs_exist_ok=True)


@pytest.mark.timeout(900)  # the first one exports what the readers have
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.slow else [])
        for page in READ
        if any(block.runs for block in page.blocks)
    ],
)
def test_a_reader_can_follow(page, tmp_path, request):
    """Each block of a page does what it is there for, in the order of the page, from the folder that its reader has."""
    folder, home, programs = (tmp_path / name for name in ("here", "home", "programs"))
    for one in (folder, home, programs):
        one.mkdir()
    lay_out(page, folder, request.getfixturevalue("demo_repository") if "entries" in page.given else folder)
    script = session(page, programs, SERVED if page.given.get("served") else "")
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home), "LANG": "C.UTF-8", "COLUMNS": "80"}
    environment |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "PYTHONPATH"))}
    with subprocess.Popen(
        alone(["bash", "-c", script]),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said = process.communicate(timeout=SECONDS)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            said = process.communicate(timeout=60)[0]
            pytest.fail(f"{page.name} takes more than {SECONDS} s:\n{said}")
    assert process.returncode == 0, said[-6000:]


NOT_RUN = [block for page in READ for block in page.blocks if block.needs] + [
    one for page in OTHERS for one in page.blocks
]
NOT_RUN = [block for block in NOT_RUN if block.language == "bash"]


@pytest.mark.parametrize("block", NOT_RUN, ids=lambda block: block.place)
def test_what_cannot_be_run_here_is_well_formed(block):
    """Its syntax is bash's, its options are those of our commands, its files are in the repository."""
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    for words in commands(block.text):
        if words[0] == "hf2triton":
            command = main.commands[words[1]]
            arguments = words[2 : words.index(">") if ">" in words else None]
            try:
                command.make_context(words[1], arguments)
            except click.UsageError as error:
                pytest.fail(f"{block.place}: {error.format_message()}")
        for word in words:
            if word.startswith(("docker/", "tests/", "examples/")):
                assert (ROOT / word).exists(), f"{block.place}: {word}"


def test_snippets_are_typed(tmp_path):
    """A reader's type checker accepts each program, and each file that a page has its reader write."""
    programs = [block for page in READ + OTHERS for block in page.blocks if block.language == "python"]
    paths = {}
    for number, block in enumerate(programs):
        path = tmp_path / f"snippet_{number}.py"
        path.write_text(block.text, encoding="utf-8")
        paths[path.name] = block.place
    checked = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--config-file",
            ROOT / "pyproject.toml",
            "--no-error-summary",
            "--output",
            "json",
            *sorted(tmp_path.glob("*.py")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    found = [json.loads(line) for line in checked.stdout.splitlines()]
    said = [f"{paths.get(Path(one['file']).name, one['file'])} + {one['line']}: {one['message']}" for one in found]
    assert (said, checked.returncode) == ([], 0), checked.stderr
