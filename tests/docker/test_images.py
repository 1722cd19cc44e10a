"""The Dockerfiles and compose.yaml are what linters and schemas want, and agree with each other and with the code."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from hf2triton.engines.tensorrt import ENGINE_CACHE
from hf2triton.graph.passes.release import RELEASES
from hf2triton.kubernetes.plan import MOUNTED, PORTS
from hf2triton.kubernetes.pod import EXIT_SECONDS, HEALTH, USER

from .conftest import DOCKER

ROOT = DOCKER.parent
DOCKERFILES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCKER.glob("*.Dockerfile"))}
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
REQUIREMENTS = (DOCKER / "server-requirements.txt").read_text(encoding="utf-8")


def run(*command: str) -> subprocess.CompletedProcess:
    program = Path(sys.executable).parent / command[0]
    return subprocess.run([str(program), *command[1:]], capture_output=True, text=True)


def arguments(text: str) -> dict[str, str]:
    """The build arguments of a Dockerfile with their defaults."""
    return dict(re.findall(r"^ARG (\w+)=(.*)$", text, re.MULTILINE))


def instructions(text: str, name: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", " ", text)
    return re.findall(rf"^{name} +(.*)$", joined, re.MULTILINE)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_has_nothing_to_say(name):
    """Not even information: no rule is switched off."""
    result = run("hadolint", "--no-color", "--failure-threshold", "info", str(DOCKER / name))
    assert (result.returncode, result.stdout) == (0, "")


def test_shellcheck_has_nothing_to_say():
    """Of the entry point."""
    result = run("shellcheck", str(DOCKER / "serve.sh"))
    assert (result.returncode, result.stdout) == (0, "")


def test_compose_keeps_to_its_schema():
    """The one of the Compose specification."""
    result = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(DOCKER / "compose.yaml"))
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_do_not_run_as_root(name):
    """The last user is a number that is not 0, and the entry point gets signals itself."""
    text = DOCKERFILES[name]
    for stage in re.split(r"^FROM .*$", text, flags=re.MULTILINE)[1:]:
        users = instructions(stage, "USER")
        assert not users or users[-1] == f"{USER}:{USER}"
    assert instructions(text, "USER")[-1] == f"{USER}:{USER}"
    assert instructions(text, "STOPSIGNAL") == ["SIGTERM"]
    [entrypoint] = instructions(text, "ENTRYPOINT")
    assert json.loads(entrypoint)


def test_the_server_is_that_of_the_newest_release():
    """Its onnxruntime, which runs what Python models hold, is the release's own, in the Dockerfile and in compose."""
    given = arguments(DOCKERFILES["server.Dockerfile"])
    newest = RELEASES[-1]
    assert (given["TRITON_RELEASE"], given["ONNXRUNTIME"]) == (newest.last, newest.onnxruntime)
    for name in ("server-cpu", "server-gpu"):
        build = COMPOSE["services"][name]["build"]
        assert build["args"] == {key: f"${{{key}:-{given[key]}}}" for key in ("TRITON_RELEASE", "ONNXRUNTIME")}
        assert re.search(rf"^FROM base AS {build['target']}$", DOCKERFILES["server.Dockerfile"], re.MULTILINE)
        assert (ROOT / build["dockerfile"]).is_file()


def test_the_servers_packages_are_those_that_are_tested():
    """Exactly what Python models import besides onnxruntime, each in the version that the tests run with."""
    pinned = dict(re.findall(r"^(\w+)==([\d.]+)", REQUIREMENTS, re.MULTILINE))
    assert pinned == {name: metadata.version(name) for name in ("numpy", "pillow", "tokenizers")}


def test_models_import_nothing_else():
    """No module of the frontends needs a package that the image lacks."""
    frontends = Path(sys.modules["hf2triton"].__file__).parent / "triton_models"
    found = set()
    for path in frontends.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            found |= {name.partition(".")[0] for name in names}
    assert found - set(sys.stdlib_module_names) == {
        "numpy",
        "onnxruntime",
        "PIL",
        "tokenizers",
        "triton_python_backend_utils",
    }


def test_models_neither_evaluate_nor_write():
    """No module of the frontends runs text as code, unpickles, starts a process, opens a connection or opens a file to write."""
    modules = {
        "ctypes",
        "dill",
        "importlib",
        "marshal",
        "multiprocessing",
        "pickle",
        "runpy",
        "shelve",
        "shutil",
        "socket",
    }
    modules |= {"http", "joblib", "requests", "subprocess", "tempfile", "torch", "urllib"}
    # which linting looks at use by use: its own server's metrics on 127.0.0.1, and what the heap keeps
    looked_at = {"backlog.py": {"socket"}, "memory.py": {"ctypes"}}
    calls = {"eval", "exec", "compile", "__import__", "breakpoint"}
    methods = {
        "system",
        "popen",
        "fork",
        "remove",
        "unlink",
        "mkdir",
        "makedirs",
        "rename",
        "write_text",
        "write_bytes",
    }
    frontends = Path(sys.modules["hf2triton"].__file__).parent / "triton_models"
    opened = 0
    for path in frontends.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                found = {name.partition(".")[0] for name in names} & modules
                assert found <= looked_at.get(path.name, set()), path
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Name):
                assert node.func.id not in {*calls, "open"}, path
            if isinstance(node.func, ast.Attribute):
                assert node.func.attr not in {*methods, "open"}, path
                opened += node.func.attr in ("read_text", "read_bytes")
            assert all(keyword.arg != "allow_pickle" for keyword in node.keywords), path
    assert opened >= 2, "it looks at what it should"


def test_what_is_copied_is_in_the_context():
    """Each source of a COPY exists, and .dockerignore lets it through."""
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    for text in DOCKERFILES.values():
        for line in instructions(text, "COPY"):
            words = [word for word in line.split() if not word.startswith("--")]
            if "--from=" in line:
                continue
            for source in words[:-1]:
                assert (ROOT / source).exists(), source
                assert source in kept, source


def test_the_exporter_installs_extras_that_exist():
    """And the torch that the Makefile installs."""
    text = DOCKERFILES["exporter.Dockerfile"]
    extras = re.search(r'"\.\[([a-z,]+)\]"', text)[1].split(",")
    assert set(extras) <= set(metadata.metadata("hf2triton").get_all("Provides-Extra"))
    torch = re.search(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert f"pip install {torch} " in text


def test_the_manifests_fit_the_image():
    """Ports, the place of the models and of the health check, and the seconds that a server takes to stop."""
    text, script = DOCKERFILES["server.Dockerfile"], (DOCKER / "serve.sh").read_text(encoding="utf-8")
    [exposed] = instructions(text, "EXPOSE")
    assert {int(port) for port in exposed.split()} == set(PORTS.values())
    [command] = instructions(text, "CMD")[-1:]
    assert f"--model-repository={MOUNTED}" in json.loads(command)
    assert HEALTH in text
    assert f"install -d -o {USER} -g {USER} {ENGINE_CACHE}" in text
    assert f"--exit-timeout-secs={EXIT_SECONDS} " in script
    for name in ("server-cpu", "server-gpu"):
        service = COMPOSE["services"][name]
        assert int(service["stop_grace_period"].removesuffix("s")) > EXIT_SECONDS
        assert MOUNTED in [volume["target"] for volume in service["volumes"]]
