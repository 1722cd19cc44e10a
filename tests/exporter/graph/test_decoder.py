"""GPT-2 becomes one graph for prompts and steps: equal to PyTorch in slots, in chunks and in company."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from hf2triton.errors import ExportError, SourceError, UnknownName
from hf2triton.families import FAMILIES
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import OPSET, fit
from hf2triton.graph.precision.conversion import rounded_twin, weight_bytes, with_precision
from hf2triton.graph.storage import save_graph
from hf2triton.graph.tracing.decoder import LOGITS_FROM, export_decoder

from ...support import rest_slow

SPEC = FAMILIES["gpt2"].decoder
VOCABULARY, CONTEXT, NEW = 101, 160, 64
#: Name -> how its config differs from the plain one.
VARIANTS = {
    "plain": {},
    "unusual": {
        "scale_attn_weights": False,
        "scale_attn_by_inverse_layer_idx": True,
        "reorder_and_upcast_attn": True,
        "tie_word_embeddings": False,
        "activation_function": "relu",
        "n_inner": 48,
        "n_head": 2,
        "vocab_size": 13,
        "pad_token_id": 3,
    },
}
#: Of each of eight requests that are served together, the tokens of its prompt.
LENGTHS = (1, 9, 6, 40, 3, 80, 5, 10)
NUMPY = {"fp32": np.float32, "fp16": np.float16}


def make_model(seed=1, **variant):
    """A small GPT-2 whose weights are all random, biases too, and large enough that its tokens depend on the text."""
    torch.manual_seed(seed)
    settings = {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": VOCABULARY, "n_positions": CONTEXT}
    config = GPT2Config(**{**settings, "bos_token_id": None, "eos_token_id": None, **variant})
    model = GPT2LMHeadModel(config).eval()
    for name, parameter in model.named_parameters():
        scale = "ln_" in name and name.endswith("weight")
        torch.nn.init.normal_(parameter, mean=1.0 if scale else 0.0, std=0.25)
    return model


@pytest.fixture(scope="module")
def models():
    return {name: make_model(**variant) for name, variant in VARIANTS.items()}


@pytest.fixture(scope="module")
def export(models, tmp_path_factory):
    """Graphs and files by variant, attention and precision, each made once."""
    folder = tmp_path_factory.mktemp("decoders")
    graphs, made = {}, {}

    def get(variant="plain", attention="fused", precision="fp32"):
        key = variant, attention, precision
        if key not in made:
            if key[:2] not in graphs:
                graphs[key[:2]] = fit(clean(export_decoder(models[variant], SPEC, attention, OPSET)), None)
            graph = graphs[key[:2]]
            graph = with_precision(replace(graph, model=graph.model.clone()), precision)
            path = folder / "-".join((*key, "model.onnx"))
            save_graph(graph.model, path)
            made[key] = graph, path
        return made[key]

    return get


@pytest.fixture(scope="module")
def expected(models):
    """For each of eight prompts: PyTorch's greedy sequence, and its logits at every position."""
    random = np.random.default_rng(0)
    rows = []
    for length in LENGTHS:
        prompt = torch.from_numpy(random.integers(0, VOCABULARY, (1, length)))
        sequence = greedy(models["plain"], prompt)
        with torch.inference_mode():
            rows.append((sequence[0].numpy(), models["plain"](sequence).logits[0].numpy()))
    return rows


def greedy(model, prompt):
    mask = torch.ones_like(prompt)
    return model.generate(prompt, attention_mask=mask, max_new_tokens=NEW, do_sample=False, pad_token_id=0)


def open_session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Slots:
    """A session whose past and present are one buffer a layer, of which each request has a row. It begins as NaN."""

    def __init__(self, graph, path):
        self.session, self.state = open_session(path), graph.state
        self.dtype = NUMPY[graph.precision]
        shapes = {value.name: value.dims for value in graph.inputs}
        self.buffers = {
            name: np.full((len(LENGTHS), shapes[name][1], CONTEXT, shapes[name][3]), np.nan, self.dtype)
            for name in self.state
        }

    def run(self, first, ids, lengths, logits_from=None):
        """Adds `ids` (`[rows, sequence]`) to the slots from `first` on, which then hold `lengths` tokens; gives logits."""
        ids, lengths = np.array(ids, np.int64), np.array(lengths)[:, None]
        feeds = {
            "input_ids": ids,
            "attention_mask": (np.arange(lengths.max()) < lengths).astype(np.int64),
            "position_ids": (lengths - ids.shape[1] + np.arange(ids.shape[1])).astype(np.int64),
        }
        if logits_from is not None:
            feeds[LOGITS_FROM] = np.array([logits_from])
        binding = self.session.io_binding()
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for past, present in self.state.items():
            rows = self.buffers[past][first : first + len(ids)]
            place = ("cpu", 0, self.dtype, rows.shape, rows.ctypes.data)
            binding.bind_input(past, *place)
            binding.bind_output(present, *place)
        binding.bind_output("logits", "cpu")
        self.session.run_with_iobinding(binding)
        return binding.get_outputs()[-1].numpy()

    def fill(self, slot, tokens, chunk=CONTEXT):
        """Runs a request's tokens, `chunk` of them a call; gives the logits of all."""
        ends = [*range(chunk, len(tokens), chunk), len(tokens)]
        starts = [0, *ends[:-1]]
        parts = [self.run(slot, [tokens[a:b]], [b])[0] for a, b in zip(starts, ends, strict=True)]
        return np.concatenate(parts)


def largest(one, other):
    """The largest difference; NaN if there is one anywhere."""
    return np.abs(one - other).max()


def test_inputs_and_outputs_are_named(export):
    """Names, axes and types are those of the design, in both attentions and precisions."""
    for attention in ("fused", "standard"):
        for precision, dtype in (("fp32", "tensor(float)"), ("fp16", "tensor(float16)")):
            graph, path = export("plain", attention, precision)
            session = open_session(path)
            kinds = [f"{layer}.{kind}" for layer in range(2) for kind in ("key", "value")]
            assert [(value.name, value.shape, value.type) for value in session.get_inputs()] == [
                ("input_ids", ["batch", "sequence"], "tensor(int64)"),
                ("attention_mask", ["batch", "total"], "tensor(int64)"),
                ("position_ids", ["batch", "sequence"], "tensor(int64)"),
                *((f"past_key_values.{kind}", ["batch", 4, "past", 8], dtype) for kind in kinds),
            ]
            assert [(value.name, value.shape, value.type) for value in session.get_outputs()] == [
                ("logits", ["batch", "kept", VOCABULARY], "tensor(float)"),
                *((f"present.{kind}", ["batch", 4, "total", 8], dtype) for kind in kinds),
            ]
            assert [value.name for value in session.get_overridable_initializers()] == [LOGITS_FROM]
            assert graph.state == {f"past_key_values.{kind}": f"present.{kind}" for kind in kinds}
            assert {value.dtype for value in graph.inputs if value.name in graph.state} == {
                "FLOAT" if precision == "fp32" else "FLOAT16"
            }


def test_attention_is_one_node_a_layer(export):
    """The fused graph has one attention node a layer, and nothing of masks, reshapes or concatenations."""
    ops = [node.op_type for node in export()[0].model.graph]
    assert ops.count("GroupQueryAttention") == 2
    assert not {"Softmax", "Reshape", "Concat", "Where", "Range", "LessOrEqual"} & set(ops)


def test_standard_attention_needs_no_contrib_ops(export):
    """The standard graph imports ONNX's own domain alone, for other runtimes."""
    model = onnx.load(export(attention="standard")[1])
    assert {entry.domain for entry in model.opset_import} == {""}
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("chunk", [1, 2, 7, 33, CONTEXT])
def test_a_request_may_be_run_in_chunks(export, expected, chunk):
    """Prompts of 1 to 80 tokens and what follows give PyTorch's logits, token by token, in chunks and at once."""
    slots = Slots(*export())
    for slot, (sequence, logits) in enumerate(expected):
        assert largest(slots.fill(slot, sequence, chunk), logits) < 5e-5


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_eight_requests_generate_together(export, expected, precision):
    """Eight prompts of different lengths, stepped together for 64 tokens, each give what they give PyTorch alone.

    In fp16 tokens may differ only where PyTorch's two best logits lie closer than the graph's logits are accurate.
    """
    slots = Slots(*export(precision=precision))
    tokens = []
    for slot, ((sequence, _), length) in enumerate(zip(expected, LENGTHS, strict=True)):
        tokens.append([*sequence[:length], slots.fill(slot, sequence[:length])[-1].argmax()])
    for _ in range(NEW - 1):
        step = slots.run(0, [row[-1:] for row in tokens], [len(row) for row in tokens])
        for row, logits in zip(tokens, step, strict=True):
            row.append(logits[0].argmax())
    for row, (sequence, logits) in zip(tokens, expected, strict=True):
        assert len(row) == len(sequence)
        if precision == "fp32":
            assert row == sequence.tolist()
        elif different := np.flatnonzero(row != sequence).tolist():
            before = logits[different[0] - 1]
            assert before[sequence[different[0]]] - before[row[different[0]]] < 0.02


def test_requests_join_and_leave(export, expected):
    """Some of the slots step while others wait; a slot that held another request gives a new one's answers."""
    slots = Slots(*export())
    for slot, (sequence, _) in enumerate(expected):
        slots.fill(slot, sequence[: LENGTHS[slot]])
    slots.fill(3, expected[5][0])
    slots.fill(3, expected[3][0][: LENGTHS[3]], chunk=16)
    for first, last in ((2, 6), (0, 8), (3, 4), (5, 8)):
        rows = range(first, last)
        lengths = [LENGTHS[row] + 1 for row in rows]
        step = slots.run(first, [expected[row][0][LENGTHS[row] :][:1] for row in rows], lengths)
        for logits, row in zip(step, rows, strict=True):
            assert largest(logits[0], expected[row][1][LENGTHS[row]]) < 5e-5


@pytest.mark.parametrize("attention", ["fused", "standard"])
def test_past_and_present_may_be_tensors_of_their_own(export, expected, attention):
    """Without shared buffers each call's present is the next one's past, for a padded batch of prompts too."""
    graph, path = export(attention=attention)
    session = open_session(path)
    rows = [expected[index] for index in (1, 2, 4)]
    lengths = np.array([9, 6, 3])
    ids = np.stack([sequence[:9] for sequence, _ in rows])
    mask = (np.arange(9) < lengths[:, None]).astype(np.int64)
    feeds = {"input_ids": ids, "attention_mask": mask, "position_ids": np.tile(np.arange(9), (3, 1))}
    feeds |= {name: np.zeros((3, 4, 0, 8), np.float32) for name in graph.state}
    logits, *present = session.run(["logits", *graph.state.values()], feeds)
    for row, length, (_, own) in zip(logits, lengths, rows, strict=True):
        assert largest(row[:length], own[:length]) < 5e-5
    # the fused op puts a new key behind the row's own, the standard ops behind the longest row's
    mask = np.arange(10) <= lengths[:, None] if attention == "fused" else np.c_[mask, np.ones(3)]
    feeds = {"input_ids": np.stack([sequence[[length]] for length, (sequence, _) in zip(lengths, rows, strict=True)])}
    feeds |= {"attention_mask": mask.astype(np.int64), "position_ids": lengths[:, None]}
    feeds |= dict(zip(graph.state, present, strict=True))
    for row, length, (_, own) in zip(session.run(["logits"], feeds)[0], lengths, rows, strict=True):
        assert largest(row[0], own[length]) < 5e-5


def test_standard_attention_takes_chunks_of_a_batch(export, expected):
    """Where the fused op refuses, several rows may each add several tokens to a past."""
    graph, path = export(attention="standard")
    session = open_session(path)
    ids = np.stack([sequence[:40] for sequence, _ in expected])
    state = {name: np.zeros((8, 4, 0, 8), np.float32) for name in graph.state}
    for start, end in ((0, 11), (11, 12), (12, 40)):
        positions = np.tile(np.arange(start, end), (8, 1))
        mask = np.ones((8, end), np.int64)
        feeds = {"input_ids": ids[:, start:end], "attention_mask": mask, "position_ids": positions, **state}
        logits, *present = session.run(["logits", *graph.state.values()], feeds)
        state = dict(zip(graph.state, present, strict=True))
        assert largest(logits, np.stack([own[start:end] for _, own in expected])) < 5e-5


@pytest.mark.parametrize(
    ("variant", "attention"), rest_slow([(one, form) for form in ("fused", "standard") for one in VARIANTS], 2)
)
def test_variants_give_pytorchs_logits(export, models, variant, attention):
    """Each variant's logits are PyTorch's; reorder_and_upcast_attn's are those of its own way of computing."""
    model, (graph, path) = models[variant], export(variant, attention)
    ids = torch.randint(0, model.config.vocab_size, (2, 50), generator=torch.manual_seed(0))
    shapes = {value.name: value.dims for value in graph.inputs}
    feeds = {"input_ids": ids.numpy(), "attention_mask": np.ones((2, 50), np.int64)}
    feeds |= {"position_ids": np.tile(np.arange(50), (2, 1))}
    feeds |= {name: np.zeros((2, shapes[name][1], 0, shapes[name][3]), np.float32) for name in graph.state}
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        expected = model(ids, attention_mask=torch.ones_like(ids)).logits.numpy()
    model.set_attn_implementation("sdpa")
    assert largest(open_session(path).run(["logits"], feeds)[0], expected) < 5e-5


@pytest.mark.parametrize("attention", ["fused", "standard"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_are_stored_once(export, models, variant, attention):
    """A head that is tied to the embedding adds nothing to the file."""
    weights = sum(parameter.numel() * 4 for parameter in models[variant].parameters())
    assert 0 <= weight_bytes(export(variant, attention)[0].model) - weights < 200


def test_logits_may_be_left_out(export, expected):
    """`logits_from` cuts the positions that get logits as a slice does, down to none, and changes nothing else."""
    sequence, logits = expected[5]
    for value in (0, 1, 70, -1, -3, 80, 1000):
        slots = Slots(*export())
        kept = slots.run(0, [sequence[:80]], [80], value)
        assert kept.shape == (1, len(range(80)[value:]), VOCABULARY)
        np.testing.assert_allclose(kept[0], logits[:80][value:], atol=5e-5)
        assert largest(slots.run(0, [sequence[80:81]], [81]), logits[80]) < 5e-5


@pytest.mark.parametrize("attention", ["fused", "standard"])
def test_fp16_halves_weights_and_state(export, expected, tmp_path, attention):
    """The fp16 graph and its rounded twin have the same inputs and outputs, half the bytes and logits close by."""
    graph, path = export("plain", attention, "fp16")
    assert weight_bytes(graph.model) < 0.51 * weight_bytes(export("plain", attention)[0].model)
    save_graph(rounded_twin(graph.model), tmp_path / "twin.onnx")
    signatures, sequence, logits = [], *expected[3]
    for file in (path, tmp_path / "twin.onnx"):
        session = open_session(file)
        values = (*session.get_inputs(), *session.get_outputs())
        signatures.append([(value.name, value.shape, value.type) for value in values])
        state = {name: np.zeros((1, 4, 0, 8), np.float16) for name in graph.state}
        for start, end in ((0, 40), (40, 60), (60, 61)):
            feeds = {"input_ids": sequence[None, start:end], "attention_mask": np.ones((1, end), np.int64), **state}
            feeds |= {"position_ids": np.arange(start, end)[None]}
            own, *present = session.run(["logits", *graph.state.values()], feeds)
            state = dict(zip(graph.state, present, strict=True))
            assert 1e-6 < largest(own[0], logits[start:end]) < 0.03
    assert signatures[0] == signatures[1]


def test_the_twin_of_a_decoder_runs_in_slots(export, expected, tmp_path):
    """The rounded twin, which parity asks, takes shared buffers as the fp16 graph does."""
    graph, _ = export(precision="fp16")
    save_graph(rounded_twin(graph.model), tmp_path / "twin.onnx")
    slots = Slots(graph, tmp_path / "twin.onnx")
    for slot, (sequence, logits) in enumerate(expected):
        assert largest(slots.fill(slot, sequence, 33), logits) < 0.03


def test_upcast_attention_stays_fp32(export):
    """With reorder_and_upcast_attn the attention weights of an fp16 graph are computed in fp32."""
    graph, _ = export("unusual", "standard", "fp16")
    softmaxes = [node for node in graph.model.graph if node.op_type == "Softmax"]
    assert len(softmaxes) == 2
    assert {node.inputs[0].dtype.name for node in softmaxes} == {"FLOAT"}
    assert len(graph.full_precision) == 6


def test_the_model_is_left_as_it_was(export, models):
    """After an export the model has its own attention and layers, and the file says nothing of the machine."""
    _, path = export()
    model = models["plain"]
    assert model.config._attn_implementation == "sdpa"
    assert not any("forward" in vars(module) for module in model.modules())
    assert not any(word in path.read_bytes() for word in (b"site-packages", b".py"))


def test_what_cannot_be_exported_is_refused(models):
    """A model that attends to an encoder, heads that the op does not take, and an attention that is not there, are errors
    that say so."""
    with pytest.raises(SourceError, match="add_cross_attention"):
        export_decoder(make_model(add_cross_attention=True, n_layer=1), SPEC, "fused", OPSET)
    with pytest.raises(ExportError, match="a multiple of 8, and these have 6: use --attention standard"):
        export_decoder(make_model(n_embd=24, n_layer=1), SPEC, "fused", OPSET)
    with pytest.raises(UnknownName, match="fused, standard"):
        export_decoder(models["plain"], SPEC, "fused-any-mask", OPSET)
