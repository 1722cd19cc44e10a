"""The layers before and after pooling in a sentence-transformers folder, as its files describe them.

Reads only JSON and the headers of safetensors files; `checkpoint/embedding_layers.py` makes torch modules of the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..core.embedding import Dense, Layer, LayerNorm, Normalize
from ..core.json_files import read_object
from ..errors import SourceError, WeightsError

#: Activation functions without parameters or required arguments, as torch names them.
ACTIVATIONS = (
    *(
        "CELU",
        "ELU",
        "GELU",
        "Hardsigmoid",
        "Hardswish",
        "Hardtanh",
        "Identity",
        "LeakyReLU",
        "LogSigmoid",
        "Mish",
        "ReLU",
    ),
    *("ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softsign", "Tanh", "Tanhshrink"),
)
#: What a layer reads and writes: the embedding of a text, or the vectors of its tokens.
SENTENCE, TOKENS = "sentence_embedding", "token_embeddings"
_PICKLE = "pytorch_model.bin"


#: A function that reads a kind of layer. Arguments: its folder, the size of its input embeddings (None: not known), whether
#: pickles may be read, and what it must read and write. Returns the layer (None: it does nothing) and the size of its output
#: embeddings.
Read = Callable[[Path, int | None, bool, str], tuple[Layer | None, int | None]]


def _normalize(folder: Path, width: int | None, allow_pickle: bool, reads: str) -> tuple[Layer, int | None]:
    path = folder / "config.json"
    _require_features(path, read_object(path), reads)
    return Normalize(), width


def _dense(folder: Path, width: int | None, allow_pickle: bool, reads: str) -> tuple[Layer, int]:
    path = folder / "config.json"
    settings = read_object(path)
    _require_features(path, settings, reads)
    rows, columns = _size(path, settings, "out_features"), _size(path, settings, "in_features")
    _require_width(path, columns, width)
    named = settings.get("activation_function", "torch.nn.modules.activation.Tanh")
    activation = str(named).rsplit(".", 1)[-1]
    if not str(named).startswith("torch.nn.") or activation not in ACTIVATIONS:
        raise SourceError(
            f"{path} has the activation_function {named}; served are those of torch.nn: {', '.join(ACTIVATIONS)}"
        )
    bias = bool(settings.get("bias", True))
    residual = ("identity" if rows == columns else "linear") if settings.get("use_residual") else ""
    shapes: dict[str, tuple[int, ...]] = {"linear.weight": (rows, columns)}
    shapes |= {"linear.bias": (rows,)} if bias else {}
    shapes |= {"residual.weight": (rows, columns)} if residual == "linear" else {}
    return Dense(_weights(folder, shapes, allow_pickle), columns, rows, bias, activation, residual), rows


def _layer_norm(folder: Path, width: int | None, allow_pickle: bool, reads: str) -> tuple[Layer, int]:
    path = folder / "config.json"
    size = _size(path, read_object(path), "dimension")
    _require_width(path, size, width)
    shapes = {"norm.weight": (size,), "norm.bias": (size,)}
    return LayerNorm(_weights(folder, shapes, allow_pickle), size), size


def _dropout(folder: Path, width: int | None, allow_pickle: bool, reads: str) -> tuple[None, int | None]:
    return None, width  # only active in training


#: What layers read -> kind -> the function that reads it.
LAYERS: Mapping[str, Mapping[str, Read]] = {
    SENTENCE: {"Dense": _dense, "LayerNorm": _layer_norm, "Normalize": _normalize, "Dropout": _dropout},
    TOKENS: {"Dense": _dense, "Normalize": _normalize},
}


def weight_files(folder: Path, allow_pickle: bool) -> list[Path]:
    """The existing files that may hold a layer's weights."""
    names = ("model.safetensors", _PICKLE) if allow_pickle else ("model.safetensors",)
    return [folder / name for name in names if (folder / name).exists()]


def _require_features(path: Path, settings: Mapping[str, Any], reads: str) -> None:
    """Raises SourceError for a layer that reads or writes something else than `reads`."""
    for key in ("module_input_name", "module_output_name"):
        if settings.get(key, reads) not in (reads, None):
            raise SourceError(
                f"{path} has the {key} {settings[key]}; in this place, only layers of the {reads} are served"
            )


def _size(path: Path, settings: Mapping[str, Any], key: str) -> int:
    value = settings.get(key)
    if type(value) is not int or value < 1:
        raise SourceError(f"{key} in {path} should be an integer of 1 or more, not {value!r}")
    return value


def _require_width(path: Path, size: int, width: int | None) -> None:
    if width is not None and size != width:
        raise SourceError(f"{path} takes embeddings of {size} numbers, and those before it have {width}")


def _weights(folder: Path, shapes: Mapping[str, tuple[int, ...]], allow_pickle: bool) -> Path:
    """The file with a layer's weights. Raises WeightsError unless they have these names and shapes."""
    path = folder / "model.safetensors"
    if path.exists():
        _check_shapes(path, shapes)
        return path
    if not (folder / _PICKLE).exists():
        raise WeightsError(f"{folder} holds no weights (model.safetensors)")
    if not allow_pickle:
        raise WeightsError(
            f"{folder} holds pickled weights only ({_PICKLE}), and a pickle can run code when it is loaded: save the model"
            " again with SentenceTransformer.save, or give --allow-pickle if you trust its author"
        )
    return folder / _PICKLE


def _check_shapes(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            actual = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} ({path.stat().st_size:,} bytes) is corrupt or was cut short: {error}") from error
    require_shapes(path, actual, shapes)


def require_shapes(path: Path, actual: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raises WeightsError if the tensors in a file differ from its layer's in name or shape."""
    for name in sorted({*actual, *expected}):
        if name not in actual:
            raise WeightsError(f"{path} lacks {name} {list(expected[name])}")
        if name not in expected:
            raise WeightsError(f"{path} holds {name} {list(actual[name])}, for which its layer has no place")
        if actual[name] != expected[name]:
            raise WeightsError(f"{name} in {path} is {list(actual[name])} and should be {list(expected[name])}")
