"""A small random decoder, as a graph and as numpy: the oracle."""

import functools

import numpy as np
import onnx
import onnxruntime

from hf2triton.triton_models.generation.cache import DeviceCache, HostCache

LAYERS, HEADS, HEAD_SIZE, WIDTH, VOCABULARY, MAX_LENGTH = 2, 4, 8, 32, 100, 48
PROMPTS = [tuple(np.random.default_rng(n).integers(0, VOCABULARY, n)) for n in (4, 9, 1, 12, 3, 30, 5, 20)]
#: Both keep the cache in this process; "device" takes the way a GPU takes, through OrtValues and the copying graph.
CACHES = {"host": HostCache, "device": lambda layout: DeviceCache(layout, "cpu", 0, "CPUExecutionProvider")}


@functools.cache
def weights() -> dict[str, np.ndarray]:
    """Embeddings of tokens and positions; for each layer attention and a tanh network; a head."""
    shapes = {"tokens": (VOCABULARY, WIDTH), "positions": (MAX_LENGTH, WIDTH), "head": (WIDTH, VOCABULARY)}
    shapes |= {
        f"{name}{layer}": (WIDTH, WIDTH) for layer in range(LAYERS) for name in ("wq", "wk", "wv", "wo", "up", "down")
    }
    rng = np.random.default_rng(0)
    made = {name: (rng.standard_normal(shape) * 2 / WIDTH**0.5).astype(np.float32) for name, shape in shapes.items()}
    return made | {"positions": 2 * made["positions"]}  # so that texts do not settle on one token


@functools.cache
def graph(dtype: str = "float") -> bytes:
    """The decoder in ONNX's text form, with the inputs and outputs that an exported one has."""
    layer = """
        q{n} = MatMul(x{n}, wq{n})   k{n} = MatMul(x{n}, wk{n})   v{n} = MatMul(x{n}, wv{n})
        a{n}, "present.{n}.key", "present.{n}.value" = com.microsoft.GroupQueryAttention<num_heads={heads}, kv_num_heads={heads}>(
            q{n}, k{n}, v{n}, "past_key_values.{n}.key", "past_key_values.{n}.value", seqlens, total)
        o{n} = MatMul(a{n}, wo{n})   s{n} = Add(x{n}, o{n})
        u{n} = MatMul(s{n}, up{n})   t{n} = Tanh(u{n})   d{n} = MatMul(t{n}, down{n})   x{m} = Add(s{n}, d{n})"""
    kv = [f'{dtype}[b, {HEADS}, p, {HEAD_SIZE}] "{{}}.{n}.{kind}"' for n in range(LAYERS) for kind in ("key", "value")]
    pasts, presents = (", ".join(one.format(side) for one in kv) for side in ("past_key_values", "present"))
    text = f"""
        <ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>
        decoder (int64[b, n] input_ids, int64[b, t] attention_mask, int64[b, n] position_ids, {pasts})
            => ({dtype}[b, n, {VOCABULARY}] logits, {presents})
        {{
            token = Gather(tokens, input_ids)   position = Gather(positions, position_ids)   x0 = Add(token, position)
            one = Constant<value_int = 1>()   axes = Constant<value_ints = [1]>()
            length = ReduceSum<keepdims = 0>(attention_mask, axes)   last = Sub(length, one)   seqlens = Cast<to = 6>(last)
            shape = Shape(attention_mask)   longest = Gather(shape, one)   total = Cast<to = 6>(longest)
            {"".join(layer.format(n=n, m=n + 1, heads=HEADS) for n in range(LAYERS))}
            logits = MatMul(x{LAYERS}, head)
        }}"""
    model = onnx.parser.parse_model(text)
    kind = {"float": np.float32, "float16": np.float16}[dtype]
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array.astype(kind), name) for name, array in weights().items()
    )
    return model.SerializeToString()


def logits_of(ids: tuple[int, ...]) -> np.ndarray:
    """The oracle: the decoder in numpy, in float64, one sequence, without a cache. `[tokens, vocabulary]`."""
    w = {name: array.astype(np.float64) for name, array in weights().items()}
    x = w["tokens"][list(ids)] + w["positions"][: len(ids)]
    for n in range(LAYERS):
        q, k, v = (
            (x @ w[f"{name}{n}"]).reshape(len(ids), HEADS, HEAD_SIZE).swapaxes(0, 1) for name in ("wq", "wk", "wv")
        )
        scores = np.exp(q @ k.swapaxes(1, 2) / HEAD_SIZE**0.5) * np.tri(len(ids))
        attended = (scores / scores.sum(-1, keepdims=True)) @ v
        x = x + attended.swapaxes(0, 1).reshape(len(ids), WIDTH) @ w[f"wo{n}"]
        x = x + np.tanh(x @ w[f"up{n}"]) @ w[f"down{n}"]
    return x @ w["head"]


@functools.cache
def alone(prompt: tuple[int, ...], count: int) -> list[int]:
    """The oracle's greedy tokens."""
    ids = list(prompt)
    for _ in range(min(count, MAX_LENGTH - len(prompt) + 1)):
        ids.append(int(logits_of(tuple(ids))[-1].argmax()))
    return ids[len(prompt) :]


@functools.cache
def session(dtype: str = "float", rows: int = VOCABULARY) -> onnxruntime.InferenceSession:
    """The graph, with embeddings of the first `rows` tokens alone."""
    model = onnx.load_from_string(graph(dtype))
    [table] = [tensor for tensor in model.graph.initializer if tensor.name == "tokens"]
    table.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(table)[:rows], "tokens"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
