"""Warm-up: samples that Triton refuses, or that are missing."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from tritonclient.grpc import model_config_pb2 as pb

from ..core.layout import WARMUP
from .finding import ERROR, WARNING, Problem, Rule
from .models import Lint, Model

#: Types with a fixed size -> bytes of an element.
_SIZES = {
    **dict.fromkeys((pb.TYPE_BOOL, pb.TYPE_UINT8, pb.TYPE_INT8), 1),
    **dict.fromkeys((pb.TYPE_UINT16, pb.TYPE_INT16, pb.TYPE_FP16, pb.TYPE_BF16), 2),
    **dict.fromkeys((pb.TYPE_UINT32, pb.TYPE_INT32, pb.TYPE_FP32), 4),
    **dict.fromkeys((pb.TYPE_UINT64, pb.TYPE_INT64, pb.TYPE_FP64), 8),
}


def missing_input(lint: Lint, model: Model) -> Iterator[Problem]:
    inputs = {tensor.name for tensor in model.config.input}
    for sample in model.config.model_warmup:
        for name in sorted(inputs - set(sample.inputs)):
            yield Problem(
                lint.line(model, sample.name or "model_warmup"),
                f"the warm-up sample {sample.name!r} leaves out the input {name!r}: Triton refuses the model. List every input",
            )
        for name in sorted(set(sample.inputs) - inputs):
            yield Problem(
                lint.line(model, name),
                f"the warm-up sample {sample.name!r} has the input {name!r}, which the model does not have; it has"
                f" {', '.join(sorted(inputs))}",
            )


def wrong_shape(lint: Lint, model: Model) -> Iterator[Problem]:
    tensors = {tensor.name: tensor for tensor in model.config.input}
    for sample in model.config.model_warmup:
        for name, value in sample.inputs.items():
            tensor, where = tensors.get(name), lint.line(model, sample.name or name)
            if tensor is None:
                continue
            what = f"the input {name!r} of the warm-up sample {sample.name!r}"
            if value.data_type != tensor.data_type:
                given, wanted = (pb.DataType.Name(one.data_type) for one in (value, tensor))
                yield Problem(where, f"{what} is {given}, the model's is {wanted}: write {wanted}")
            fits = len(value.dims) == len(tensor.dims) and all(
                own > 0 and (own == dim or dim == -1) for own, dim in zip(value.dims, tensor.dims, strict=True)
            )
            if not fits:
                yield Problem(
                    where, f"{what} has dims {list(value.dims)}, which do not fit the model's {list(tensor.dims)}"
                )


def wrong_batch(lint: Lint, model: Model) -> Iterator[Problem]:
    most = model.config.max_batch_size
    for sample in model.config.model_warmup:
        if sample.batch_size > max(most, 1) or (most and not sample.batch_size):
            yield Problem(
                lint.line(model, sample.name or "model_warmup"),
                f"the warm-up sample {sample.name!r} has batch_size {sample.batch_size}; the model takes 1 to {max(most, 1)}",
            )


def wrong_file(lint: Lint, model: Model) -> Iterator[Problem]:
    """A file holds one item, which Triton repeats for the batch."""
    for sample in model.config.model_warmup if model.versions else ():
        for name, value in sample.inputs.items():
            if not value.input_data_file:
                continue
            path = model.folder / WARMUP / value.input_data_file
            where = f"{model.name}/{WARMUP}/{value.input_data_file}"
            size = prod(value.dims) * _SIZES.get(value.data_type, 0)
            if not path.is_file():
                yield Problem(where, f"the warm-up sample {sample.name!r} reads it for {name!r}, and it is not there")
            elif size and path.stat().st_size < size:
                yield Problem(
                    where,
                    f"it has {path.stat().st_size:,} bytes; {name!r} of the warm-up sample {sample.name!r} needs {size:,}",
                )


def none_on_gpu(lint: Lint, model: Model) -> Iterator[Problem]:
    # models with an engine warm up by themselves
    if model.on_gpu and model.backend == "onnxruntime" and not model.config.model_warmup:
        yield Problem(
            lint.line(model, "instance_group"),
            "it runs on a GPU and is not warmed up: its first callers wait for kernels to be chosen and, with TensorRT, for"
            " minutes. Write model_warmup with every input",
        )


RULES = (
    Rule(
        "warmup-input",
        ERROR,
        "model",
        "a warm-up sample that leaves out an input, or has one that the model lacks",
        missing_input,
    ),
    Rule(
        "warmup-shape",
        ERROR,
        "model",
        "an input of a warm-up sample with another type or shape than the model's",
        wrong_shape,
    ),
    Rule("warmup-batch", ERROR, "model", "a warm-up sample with a batch that the model does not take", wrong_batch),
    Rule("warmup-file", ERROR, "model", "a file of a warm-up sample that is missing or too short", wrong_file),
    Rule("warmup-none", WARNING, "model", "a model on a GPU without a warm-up", none_on_gpu),
)
