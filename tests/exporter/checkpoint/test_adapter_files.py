"""What an adapter's folder holds is found by its files alone, takes the place of the base's own, and is recorded."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hf2triton.bench.exporting import _arguments
from hf2triton.bench.plan import BenchOptions, frontends_named
from hf2triton.bench.pytorch import load
from hf2triton.build.file import Declared
from hf2triton.build.plan import UNCHANGED, plan_build
from hf2triton.checkpoint.adapters.files import adapters_in, files_of
from hf2triton.checkpoint.adapters.source import find_base, read_adapter, read_base_and_adapter, with_files_of
from hf2triton.checkpoint.adapters.vocabulary import rows_of
from hf2triton.checkpoint.source import find_source
from hf2triton.core.manifest import served_manifest
from hf2triton.core.options import ExportOptions
from hf2triton.errors import AdapterError, SourceError
from hf2triton.export.pipeline import export
from hf2triton.parity.baseline_recorder import record

from ...checkpoints.adapting import adapter as make_adapter
from ...support import ASSETS

BASE, ADAPTER = ASSETS / "gpt2-verses", ASSETS / "gpt2-verses-lora"


@pytest.fixture
def copied(tmp_path):
    return Path(shutil.copytree(ADAPTER, tmp_path / "adapter"))


def edit(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def add(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def options(source, adapter=None, **others):
    return ExportOptions(str(source), "x", adapter=None if adapter is None else str(adapter), **others)


def test_everything_but_the_merge_needs_no_pytorch(copied):
    """The adapter, its base, their names and shapes, the head and the task are checked without PyTorch, peft and transformers."""
    code = f"""
import sys
from hf2triton.checkpoint.adapters.source import find_base, head_settings, read_base_and_adapter, require_base, require_fit
from hf2triton.checkpoint.adapters.vocabulary import rows_of
from hf2triton.core.options import ExportOptions
from hf2triton.checkpoint.loader import task_of
options = ExportOptions({str(BASE)!r}, "x", adapter={str(copied)!r})
base, adapter = read_base_and_adapter(options)
source = find_base(base, adapter, options)
require_base(adapter, source.given, source.config)
require_fit(adapter, source)
assert head_settings(adapter) == {{}}
assert rows_of(adapter, "wte", 2000, {{"a": 0}}) == 2000
assert task_of(source, None, adapter).name == "text-generation"
print([name for name in ("torch", "peft", "transformers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_files_that_take_part(copied):
    """Configs, templates and the tokenizer do; what a training says of itself, and other checkpoints, do not."""
    add(
        copied,
        "tokenizer.json",
        "merges.txt",
        "chat_template.jinja",
        "trainer_state.json",
        "checkpoint-5/adapter_config.json",
    )
    expected = {
        *("adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "merges.txt", "tokenizer.json")
    }
    assert set(files_of(copied, "adapter_model.safetensors")) == expected
    assert set(read_adapter(copied).digests) == expected


def test_modules_of_sentence_transformers_take_part(copied):
    """Each lies in a folder of its own, with its weights."""
    (copied / "modules.json").write_text("[]")
    add(copied, "1_Pooling/config.json", "2_Dense/model.safetensors")
    found = set(files_of(copied, "adapter_model.safetensors"))
    assert {"modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors"} <= found


def test_what_the_adapter_brings_takes_the_place_of_the_bases(copied):
    """A tokenizer, an image processor and a generation config are those of the adapter's folder, each if it is there."""
    source = find_source(str(BASE))
    alone = with_files_of(read_adapter(copied), source)
    assert {alone.tokenizer_folder, alone.processor_folder, alone.generation_folder} == {BASE}
    add(copied, "tokenizer_config.json", "special_tokens_map.json")  # settings of a tokenizer that is not there
    assert with_files_of(read_adapter(copied), source).tokenizer_folder == BASE
    add(copied, "tokenizer.json", "preprocessor_config.json", "generation_config.json")
    whole = with_files_of(read_adapter(copied), source)
    assert {whole.tokenizer_folder, whole.processor_folder, whole.generation_folder} == {copied}
    assert whole.model_folder == BASE


def test_the_base_that_the_config_names(copied):
    """Its revision is the config's, unless another one is asked for; a base that is given has none of it."""
    edit(copied, base_model_name_or_path="org/base", revision="v2")
    asked = []

    def find(given, revision, allow_pickle):
        asked.append((given, revision))
        return find_source(str(BASE))

    for wanted in (options(copied), options(copied, revision="v3"), options("org/base", copied)):
        base, adapter = read_base_and_adapter(wanted)
        find_base(base, adapter, wanted, find)
    assert asked == [("org/base", "v2"), ("org/base", "v3"), ("org/base", None)]


def test_a_base_that_was_given_and_is_not_there(copied):
    """The error does not send the user to the adapter's config."""
    wanted = options("./nowhere", copied)
    with pytest.raises(SourceError, match=r"there is no folder \./nowhere") as caught:
        find_base(*read_base_and_adapter(wanted), wanted)
    assert "adapter_config.json" not in str(caught.value)


def test_an_adapter_of_an_adapter(copied, tmp_path):
    """A base that is an adapter itself is told as one."""
    other = Path(shutil.copytree(ADAPTER, tmp_path / "other"))
    edit(other, base_model_name_or_path=str(copied))
    wanted = options(other)
    with pytest.raises(
        SourceError, match=r"holds no config\.json: it is an adapter .* names \(base_model_name_or_path\)"
    ):
        find_base(*read_base_and_adapter(wanted), wanted)


def test_the_order_of_adapters_in_subfolders(tmp_path):
    """They are listed by their numbers, those of subfolders' subfolders last."""
    add(tmp_path, *(f"{name}/adapter_config.json" for name in ("b-1000", "b-200", "a/inner", "a")))
    assert adapters_in(tmp_path) == ["a", "b-200", "b-1000", "a/inner"]


def test_an_adapter_beside_others_is_the_one(copied):
    """peft writes the adapter `default` into the folder itself, and others into subfolders: the folder means the former."""
    shutil.copytree(ADAPTER, copied / "other")
    assert read_adapter(copied).folder == copied


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": None}, "names no peft_type"),
        ({"peft_type": "PROMPT_TUNING"}, "holds a PROMPT_TUNING adapter, which cannot be merged"),
        ({"base_model_name_or_path": ["a"]}, r"base_model_name_or_path must be a text, and is \['a'\]"),
        ({"init_lora_weights": "corda"}, "init_lora_weights is 'corda', for which the training took away"),
    ],
    ids=["no-kind", "virtual", "base", "corda"],
)
def test_configs_that_cannot_be_used(copied, changes, message):
    """The value is named, before anything is loaded."""
    edit(copied, **changes)
    with pytest.raises(AdapterError, match=message):
        read_adapter(copied)


def test_an_adapter_on_the_hub(tmp_path):
    """It is told how to fetch it."""
    with pytest.raises(AdapterError, match="hf download someone/lora --local-dir"):
        read_base_and_adapter(options(BASE, "someone/lora"))


def test_rows_of_a_padded_table(copied):
    """Without saved embeddings the table grows to the tokenizer, if its new tokens were trained; it never shrinks."""
    edit(copied, trainable_token_indices=[2000, 2001])
    vocabulary = {f"t{number}": number for number in range(2002)}
    assert rows_of(read_adapter(copied), "wte", 2000, vocabulary) == 2000
    (copied / "tokenizer.json").write_text("{}")
    adapter = read_adapter(copied)
    assert rows_of(adapter, "wte", 2000, vocabulary) == 2002
    assert rows_of(adapter, "wte", 4096, vocabulary) == 4096
    with pytest.raises(AdapterError, match=r"adds to the base's 1990: 't1990' \(1990\).* …"):
        rows_of(adapter, "wte", 1990, vocabulary)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An adapter with two new tokens, whose base has another name than it says, and its entry."""
    folder = tmp_path_factory.mktemp("exported")
    base = Path(shutil.copytree(ASSETS / "bert-sentiment", folder / "base"))
    adapter = make_adapter(("<user>", "<code>"))(base)
    edit(adapter, base_model_name_or_path="org/trained-elsewhere")
    wanted = options(base, adapter, base_name="trained-elsewhere", precision="fp32", repository=folder / "repository")
    export(wanted)
    return wanted


def test_the_manifest_records_the_adapters_tokenizer(exported):
    """Its files are among the adapter's, so that a build sees that one changed."""
    declared = Declared(exported.repository / "hf2triton.yaml", exported.repository, {"x": exported})
    assert plan_build(declared).entries[0].state == UNCHANGED
    path = Path(exported.adapter, "tokenizer_config.json")
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), "model_max_length": 64}))
    assert plan_build(declared).entries[0].reasons == ("adapter: tokenizer_config.json differs",)
    path.write_text(before)


def test_a_baseline_is_recorded_with_the_adapters_tokenizer(exported):
    """What PyTorch is asked for `validate --source` is read as the entry reads it, whatever the adapter calls its base."""
    manifest = served_manifest(exported.repository, "x")
    recorded = record(options(exported.source, exported.adapter, base_name="trained-elsewhere"), None, {})
    assert recorded[""].about["preprocessing"] == manifest.preprocessing


def test_a_benchmark_loads_what_was_exported(exported):
    """Its PyTorch has the adapter's tokens."""
    [frontend] = frontends_named(BenchOptions(("x",), repository=exported.repository), ("x",))
    checkpoint, _ = load(frontend.source)
    assert checkpoint.model.get_input_embeddings().num_embeddings == 3002
    assert '"<user>"' in checkpoint.tokenizer.definition
    arguments = _arguments(BenchOptions(("x",), repository=exported.repository), frontend, "x-fp16", "fp16")
    assert arguments[arguments.index("--base-name") + 1] == "org/trained-elsewhere"
