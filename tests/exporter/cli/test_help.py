"""What `--help` says, and that completion and `--help` are quick to import."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from hf2triton.cli import GROUPS, main

#: Modules that make a start slow.
HEAVY = {"numpy", "grpc", "rich", "torch", "onnx", "hf2triton_client", "yaml", "pydantic"}


def help_of(*names):
    return CliRunner().invoke(main, [*names, "--help"], terminal_width=80).stdout


def test_commands_are_grouped_by_what_the_user_wants():
    """Five headings in the order of the work, with each command below one of them."""
    lines = help_of().splitlines()
    headings = [line.removesuffix(":") for line in lines if line and not line.startswith((" ", "Usage"))]
    assert headings == ["Options", "Make", "Prove", "Serve", "Ship", "Look"]
    listed = [line.split()[0] for line in lines[lines.index("Make:") :] if line.startswith("  ")]
    assert listed == [command.name for commands in GROUPS.values() for command in commands] == list(main.commands)
    assert len(listed) == 20


@pytest.mark.parametrize("name", main.commands)
def test_summaries_are_whole(name):
    """Each fits beside its name in 80 columns, is one sentence, and is the first of the command's own help."""
    [line] = [line for line in help_of().splitlines() if line.startswith(f"  {name} ")]
    assert len(line) <= 80
    summary = line.split(maxsplit=1)[1]
    assert summary.endswith(".")
    assert "..." not in summary
    assert summary in " ".join(help_of(name).split())


@pytest.mark.parametrize("name", main.commands)
def test_every_option_is_explained(name):
    """Each has a help text that is a sentence or more, and every command can be quiet or verbose."""
    parameters = {parameter.name: parameter for parameter in main.commands[name].params}
    assert {"quiet", "verbose"} <= set(parameters)
    for parameter in parameters.values():
        if parameter.param_type_name == "option":
            assert parameter.help, parameter.name
            assert parameter.help.split("  [")[0].endswith("."), parameter.help


@pytest.mark.parametrize("words", ["--help", "infer --help", "-h"])
def test_help_imports_little(words):
    """What makes a start slow is not imported to show help."""
    code = f"import sys; from hf2triton.cli import main; main({words.split()!r}, standalone_mode=False); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not HEAVY & set(shown.splitlines()[-1].split())


def completed(folder, words):
    """What a shell would offer for the last word."""
    environment = {**os.environ, "_HF2TRITON_COMPLETE": "bash_complete", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(words.split(" ")) - 1)
    code = (
        "import sys; from hf2triton.cli import main\n"
        "try: main(prog_name='hf2triton')\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=folder)
    assert not HEAVY & set(done.stderr.splitlines()[-1].split())
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_shells_complete_names_of_entries(tmp_path):
    """From the named repository or the default one. Two frontends of one entry are its name; names are offered once."""
    for repository, names in (
        ("model_repository", ("sentiment", "pictures_text", "pictures_image")),
        ("other", ("x", "y_text")),
    ):
        for name in names:
            (tmp_path / repository / name).mkdir(parents=True)
            (tmp_path / repository / name / "manifest.json").touch()
        (tmp_path / repository / "sentiment_model").mkdir()
    assert completed(tmp_path, "hf2triton infer ") == ["pictures", "sentiment"]
    assert completed(tmp_path, "hf2triton infer s") == ["sentiment"]
    assert completed(tmp_path, "hf2triton validate --repository other ") == ["x", "y_text"]
    assert completed(tmp_path, "hf2triton validate sentiment ") == ["pictures"]
    assert completed(tmp_path, "hf2triton rollback --repository other ") == ["x", "y_text"]
    assert completed(tmp_path, "hf2triton va") == ["validate"]
    assert completed(tmp_path, "hf2triton lint other ") == ["x", "y_text"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_a_script(shell):
    """What the shell reads at its start calls hf2triton for each completion."""
    if (
        shell == "bash"
        and subprocess.run(["bash", "-c", "((BASH_VERSINFO[0] > 4 || BASH_VERSINFO[1] >= 4))"]).returncode
    ):
        pytest.skip("click's completion needs bash 4.4")
    environment = {**os.environ, "_HF2TRITON_COMPLETE": f"{shell}_source"}
    code = "from hf2triton.cli import main; main(prog_name='hf2triton')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0
    assert f"_HF2TRITON_COMPLETE={shell}_complete" in done.stdout
