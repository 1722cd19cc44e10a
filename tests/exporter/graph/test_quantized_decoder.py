"""A decoder in int8: a quarter of the bytes, logits near PyTorch's, and the same for a row whoever else is served."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig, GPT2Config, GPT2LMHeadModel

from hf2triton.export.genai_config import GENAI_CONFIG, genai_config
from hf2triton.families import FAMILIES
from hf2triton.graph.passes.cleaning import clean
from hf2triton.graph.passes.release import OPSET, fit
from hf2triton.graph.precision.conversion import weight_bytes
from hf2triton.graph.precision.quantize import BLOCK, quantize_weights
from hf2triton.graph.storage import save_graph
from hf2triton.graph.tracing.decoder import LOGITS_FROM, export_decoder
from hf2triton.triton_models.generation.decoder import open_decoder

from ...support import ASSETS, rest_slow, sample_of
from ..export.test_genai_config import generate_with_genai
from .test_decoder import open_session
from .test_quantize import ops_of

VERSES = ASSETS / "gpt2-verses"

#: How far int8 may move a logit at most and in the mean, as shares of the logits' spread: rounding grows with them.
LARGEST, MEAN = 0.12, 0.01


def make_decoder(model, path, attention="fused"):
    """The int8 graph of a model that generates, stored."""
    spec = FAMILIES[model.config.model_type].decoder
    graph = quantize_weights(fit(clean(export_decoder(model, spec, attention, OPSET)), None))
    save_graph(graph.model, path)
    return graph


@pytest.fixture(scope="module")
def verses():
    return GPT2LMHeadModel.from_pretrained(VERSES).eval()


@pytest.fixture(scope="module")
def rows():
    """Held-out verses as tokens."""
    tokenizer = AutoTokenizer.from_pretrained(VERSES)
    return [tokenizer(row["verse"])["input_ids"] for row in sample_of(VERSES)]


@pytest.fixture(scope="module")
def exported(verses, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    return make_decoder(verses, path), path


@pytest.fixture(scope="module")
def expected(verses, rows):
    """PyTorch's logits at every position of the verses."""
    with torch.inference_mode():
        return [verses(torch.tensor([row])).logits[0].numpy() for row in rows]


def opened(path, slots=8, length=256):
    return open_decoder(str(path), slots, length, threads=1)


def logits_of(decoder, row):
    """The logits of a row's every position, one step after another."""
    return np.stack([decoder.step([token], [index])[0].copy() for index, token in enumerate(row)])


def likelihood(logits, row):
    """The mean negative log-likelihood of a row's tokens."""
    scores = torch.from_numpy(logits[:-1]).double().log_softmax(-1)
    return -float(scores[range(len(row) - 1), row[1:]].mean())


def test_a_decoders_file_is_a_quarter(verses, exported):
    """The matrices and the tied table are int8, stored once; state, positions and norms stay fp32."""
    graph, path = exported
    count = sum(parameter.numel() for parameter in verses.parameters())
    in_fp32 = sum(
        parameter.numel()
        for name, parameter in verses.named_parameters()
        if parameter.dim() == 1 or name.endswith("wpe.weight")
    )
    size = (count - in_fp32) * (1 + 4 / BLOCK) + 4 * in_fp32
    assert 0 <= weight_bytes(graph.model) - size < 200
    assert path.stat().st_size < 0.32 * 4 * count
    ops = ops_of(graph)
    assert "MatMul" not in ops
    assert ops.count("MatMulNBits") == 4 * verses.config.n_layer + 1
    assert {value.dtype for value in graph.inputs if value.name in graph.state} == {"FLOAT"}


def test_logits_stay_near_pytorchs(exported, rows, expected):
    """On held-out verses of a trained model logits lie close, the best token is mostly the same, and the text as likely."""
    decoder = opened(exported[1], slots=1)
    served = [logits_of(decoder, row) for row in rows]
    one, other = np.concatenate(expected).astype(np.float64), np.concatenate(served).astype(np.float64)
    gap = np.abs(one - other)
    assert 1e-3 < gap.max() < LARGEST * one.std()
    assert gap.mean() < MEAN * one.std()
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosine.min() > 0.999
    assert (one.argmax(1) == other.argmax(1)).mean() > 0.98
    losses = [np.mean([likelihood(*pair) for pair in zip(logits, rows, strict=True)]) for logits in (expected, served)]
    assert abs(losses[1] - losses[0]) < 0.005


def test_greedy_texts_differ_only_where_pytorch_wavers(verses, exported, rows):
    """Eight prompts side by side: the first token that is another one is one that PyTorch likes nearly as well."""
    prompts = [row[:length] for row, length in zip(rows, (1, 2, 3, 4, 5, 6, 7, 8), strict=False)]
    decoder, texts = opened(exported[1]), [list(prompt) for prompt in prompts]
    for slot, prompt in enumerate(prompts):
        if prompt[:-1]:
            decoder.prefill(slot, prompt[:-1], 0)
    for _ in range(48):
        logits = decoder.step([text[-1] for text in texts], [len(text) - 1 for text in texts])
        for text, row in zip(texts, logits, strict=True):
            text.append(int(row.argmax()))
    assert len({tuple(text) for text in texts}) == 8
    same = 0
    for prompt, text in zip(prompts, texts, strict=True):
        with torch.inference_mode():
            logits = verses(torch.tensor([text])).logits[0, len(prompt) - 1 : -1].numpy()
        chosen = np.array(text[len(prompt) :])
        margins = logits.max(1) - logits[np.arange(len(chosen)), chosen]
        assert margins.max() < LARGEST * logits.std()
        same += int((margins == 0).sum())
    assert same > 0.97 * 8 * 48


def test_a_row_gives_the_same_bits_in_any_company(exported, rows):
    """Logits of a row alone, among seven others of other lengths, and in another slot are equal bit for bit."""
    group = [row[: 5 + 3 * index] for index, row in enumerate(rows[:8])]
    lengths = [len(row) - 1 for row in group]
    together, alone = opened(exported[1]), opened(exported[1])
    for order in (range(8), range(7, -1, -1)):
        for slot, index in enumerate(order):
            together.prefill(slot, group[index][:-1], 0)
        served = together.step([group[index][-1] for index in order], [lengths[index] for index in order])
        for slot, index in enumerate(order):
            alone.prefill(0, group[index][:-1], 0)
            np.testing.assert_array_equal(served[slot], alone.step([group[index][-1]], [lengths[index]])[0])


@pytest.mark.parametrize("piece", [1, 7, 64])
def test_prompts_may_come_in_pieces(exported, rows, expected, piece):
    """However a prompt is cut, what follows is near PyTorch's; not the same bits, since attention adds up in another order
    and a state that lies between two steps may be rounded to either."""
    row = max(rows, key=len)
    decoder = opened(exported[1], slots=2)
    for start in range(0, len(row) - 1, piece):
        decoder.prefill(1, row[start : min(start + piece, len(row) - 1)], start)
    decoder.move(1, 0, len(row) - 1)
    gap = np.abs(decoder.step([row[-1]], [len(row) - 1])[0] - expected[rows.index(row)][-1])
    spread = np.concatenate(expected).std()
    assert 0 < gap.mean() < MEAN * spread
    assert gap.max() < LARGEST * spread


@pytest.mark.parametrize("attention", ["fused", "standard"])
def test_logits_may_be_left_out(verses, rows, expected, tmp_path, attention):
    """`logits_from` cuts the positions that get logits, down to none, in either attention."""
    graph = make_decoder(verses, tmp_path / "model.onnx", attention)
    session = open_session(tmp_path / "model.onnx")
    ids = np.array([rows[0]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(ids.size)[None]}
    feeds |= {value.name: np.zeros((1, 4, 0, 32), np.float32) for value in graph.inputs if value.name in graph.state}
    whole = session.run(["logits"], feeds)[0][0]
    assert np.abs(whole - expected[0]).max() < LARGEST * expected[0].std()
    for value in (-1, 3, 10_000):
        kept = session.run(["logits"], feeds | {LOGITS_FROM: np.array([value])})[0][0]
        assert kept.shape == whole[value:].shape
        np.testing.assert_array_equal(kept, whole[value:])


@pytest.mark.parametrize(
    "variant",
    rest_slow(
        [
            {"n_embd": 32, "vocab_size": 101},
            {"n_embd": 24, "n_inner": 50, "vocab_size": 13, "n_head": 3},
            {"n_embd": 40, "n_inner": 50, "vocab_size": 13, "n_head": 5, "tie_word_embeddings": False},
            {"n_embd": 72, "n_inner": 32, "vocab_size": 257, "n_head": 3, "reorder_and_upcast_attn": True},
        ]
    ),
)
def test_decoders_of_any_size_run(tmp_path, variant):
    """Sizes that are no multiple of a block, with heads of their own or tied, give PyTorch's logits but for rounding."""
    torch.manual_seed(3)
    sizes = {"n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": None, "eos_token_id": None}
    model = GPT2LMHeadModel(GPT2Config(**sizes | variant)).eval()
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("ln_" in name and name.endswith("weight")), std=0.2)
    graph = make_decoder(model, tmp_path / "model.onnx")
    assert ops_of(graph).count("MatMulNBits") == 4 * model.config.n_layer + 1
    shapes = [value.shape for value in graph.model.graph.initializers.values()]
    assert shapes.count(model.transformer.wte.weight.shape) == (0 if model.config.tie_word_embeddings else 1)
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, 30).tolist()
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    served = logits_of(opened(tmp_path / "model.onnx", 1, 64), ids)
    assert np.abs(served - expected).mean() < 0.02 * expected.std()


def test_the_same_model_gives_the_same_bytes(verses, exported, tmp_path):
    """A second export is the same file, byte for byte."""
    make_decoder(verses, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == exported[1].read_bytes()


def test_onnxruntime_genai_runs_it(verses, rows, exported, tmp_path):
    """An independent runtime generates the tokens that our own slots do."""
    pytest.importorskip("onnxruntime_genai")
    (tmp_path / "model.onnx").write_bytes(exported[1].read_bytes())
    config = genai_config(verses.config, GenerationConfig(eos_token_id=0))
    (tmp_path / GENAI_CONFIG).write_text(json.dumps(config), "utf-8")
    prompt, decoder = rows[0][:6], opened(exported[1], slots=1)
    text = list(prompt)
    decoder.prefill(0, prompt[:-1], 0)
    for _ in range(24):
        text.append(int(decoder.step([text[-1]], [len(text) - 1])[0].argmax()))
    assert 0 not in text  # which would end it
    assert generate_with_genai(tmp_path, np.array([prompt]), len(text)) == text
