"""Configs: what cannot be read, what nothing reads, and what the backend refuses or does not take as it looks."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.frontend_settings import DecoderSettings
from ..core.layout import CONFIG
from ..engines.common.backend_keys import ACCELERATORS, GRAPH_LEVELS, KEYS, OVERWRITTEN, PARAMETERS
from .finding import ERROR, WARNING, Problem, Rule
from .models import Lint, Model

#: Parameters that Triton's core or the Python backend reads for every model that the Python backend runs.
_OF_PYTHON = ("EXECUTION_ENV_PATH", "FORCE_CPU_ONLY_INPUT_TENSORS")


def unreadable(lint: Lint, model: Model) -> Iterator[Problem]:
    """protobuf reports the line and column, and names any unknown field."""
    _, error = model.parsed
    if error is not None:
        place, _, reason = error.partition(" : ")
        unknown = "has no field named" in error
        what = "has a key that Triton does not know" if unknown else "is not a config that Triton can read"
        yield Problem(
            f"{model.name}/{CONFIG}:{place.split(':')[0]}" if reason else f"{model.name}/{CONFIG}",
            f"it {what}: {(reason or error).rstrip('.')}. Triton refuses the model; correct the line",
        )


def missing(lint: Lint, model: Model) -> Iterator[Problem]:
    if model.text is None:
        yield Problem(
            f"{model.name}/{CONFIG}",
            "there is none, so that Triton guesses: batching, instances and warm-up are left out. Write a complete config",
        )


def name_differs(lint: Lint, model: Model) -> Iterator[Problem]:
    if model.config.name and model.config.name != model.name:
        yield Problem(
            lint.line(model, "name"),
            f"the config names {model.config.name!r}, its folder is {model.name!r}: Triton refuses that. Rename one of them",
        )


def _accelerators(model: Model) -> Iterator[tuple[str, dict[str, str]]]:
    for one in model.config.optimization.execution_accelerators.gpu_execution_accelerator:
        yield one.name, dict(one.parameters)


def _placed(model: Model) -> Iterator[tuple[str, str, str]]:
    """Place, key and value of all parameters that an onnxruntime model has."""
    for key, value in model.config.parameters.items():
        yield PARAMETERS, key, value.string_value
    for name, values in _accelerators(model):
        for key, value in values.items():
            yield name, key, value


def ignored_key(lint: Lint, model: Model) -> Iterator[Problem]:
    """Checks onnxruntime models against the table, and frontends against what their code reads."""
    if model.backend == "onnxruntime":
        yield from _ignored_by_backend(lint, model)
    level = model.config.optimization.graph.level
    if level not in GRAPH_LEVELS:
        yield Problem(
            lint.line(model, "level"),
            f"optimization.graph.level {level} means nothing and is taken for 0, all optimisations; known are"
            f" {', '.join(map(str, GRAPH_LEVELS))}: basic, all, extended, none",
        )
    if model.backend == "python" and model.settings is not None and model.loaded:
        frontend = model.frontend(model.loaded[-1])
        parameters = frontend.parameters if isinstance(frontend, DecoderSettings) else ()
        known = ("hf2triton", "intra_op_thread_count", *parameters, *_OF_PYTHON)
        for key in model.config.parameters:
            if key not in known:
                yield Problem(
                    lint.line(model, key),
                    f"the frontend does not read the parameter {key!r}; it reads {', '.join(known)}. Remove it, or correct its"
                    " name",
                )


def _ignored_by_backend(lint: Lint, model: Model) -> Iterator[Problem]:
    release = lint.release(model)
    for place, key, _ in _placed(model):
        known = KEYS.get((place, key))
        if place == PARAMETERS and known is None:
            elsewhere = [other for other, name in KEYS if name == key]
            advice = (
                f"it belongs to the accelerator {elsewhere[0]!r}" if elsewhere else "remove it, or correct its name"
            )
            yield Problem(
                lint.line(model, key), f"the onnxruntime backend does not read the parameter {key!r}: {advice}"
            )
        elif place == "cuda" and key in OVERWRITTEN:
            yield Problem(
                lint.line(model, key),
                f"{key!r} of the accelerator 'cuda' is overwritten: it counts only among the config's own parameters",
            )
        elif place == PARAMETERS and known is not None and release is not None and known.first > release:
            yield Problem(
                lint.line(model, key),
                f"the onnxruntime backend reads {key!r} from {known.first} on, and {release} is to serve this: remove it",
            )


def refused_key(lint: Lint, model: Model) -> Iterator[Problem]:
    if model.backend != "onnxruntime":
        return
    release = lint.release(model)
    for name, _ in _accelerators(model):
        if name not in ACCELERATORS:
            yield Problem(
                lint.line(model, name),
                f"the onnxruntime backend knows no accelerator {name!r} and refuses the model; known are"
                f" {', '.join(ACCELERATORS)}",
            )
    for place, key, _ in _placed(model):
        if place not in ACCELERATORS or (place == "cuda" and key in OVERWRITTEN):
            continue
        known = KEYS.get((place, key))
        if known is None:
            hint = " (precision_mode FP16 is the way to it)" if key == "trt_fp16_enable" else ""
            yield Problem(
                lint.line(model, key),
                f"the accelerator {place!r} knows no {key!r} and refuses the model{hint}: remove it, or correct its name",
            )
        elif release is not None and known.first > release:
            yield Problem(
                lint.line(model, key),
                f"{key!r} of the accelerator {place!r} is known from {known.first} on; {release}, which is to serve this,"
                " refuses the model: remove it, or export for a later release",
            )


def refused_value(lint: Lint, model: Model) -> Iterator[Problem]:
    if model.backend != "onnxruntime":
        return
    for place, key, value in _placed(model):
        known = KEYS.get((place, key))
        if known is not None and not known.takes(value):
            yield Problem(
                lint.line(model, key),
                f"{key} cannot be {value!r}: the onnxruntime backend takes what fits {known.values} ({known.source})",
            )


def optional_input(lint: Lint, model: Model) -> Iterator[Problem]:
    if model.backend == "onnxruntime":
        for tensor in model.config.input:
            if tensor.optional:
                yield Problem(
                    lint.line(model, tensor.name),
                    f"the input {tensor.name!r} is optional, which the onnxruntime backend refuses where the graph needs it:"
                    " remove `optional`",
                )


def queue_stalls(lint: Lint, model: Model) -> Iterator[Problem]:
    """See model_config.graph_batching."""
    batching = model.config.dynamic_batching
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    found = {
        "max_queue_size": any(one.max_queue_size for one in policies),
        "default_timeout_microseconds": any(one.default_timeout_microseconds for one in policies),
        "priority_levels": batching.priority_levels > 0,
    }
    for key, is_set in found.items():
        if is_set:
            yield Problem(
                lint.line(model, key),
                f"with {key} Triton does not prepare a batch while the one before it runs, and on a busy machine one request in"
                " a few hundred waits for 500 ms: leave it out unless requests must be refused, or ordered",
            )


def unset_instances(lint: Lint, model: Model) -> Iterator[Problem]:
    if model.backend in ("onnxruntime", "python") and model.text is not None and model.parsed[1] is None:
        groups = model.config.instance_group
        if not groups or any(not group.count for group in groups):
            yield Problem(
                lint.line(model, "instance_group"),
                "no count of instances: Triton makes one on each GPU, and on a CPU the onnxruntime backend makes two, each with"
                " threads for all cores. Write instance_group with count and kind",
            )


RULES = (
    Rule(
        "config-unreadable",
        ERROR,
        "model",
        "a config with a key that Triton does not know, or that is not a config",
        unreadable,
    ),
    Rule("config-missing", WARNING, "model", "a model without a config.pbtxt", missing),
    Rule("config-name", ERROR, "model", "a name that is not the folder's", name_differs),
    Rule(
        "config-ignored-key",
        WARNING,
        "model",
        "a parameter that the backend or the frontend does not read",
        ignored_key,
    ),
    Rule("config-refused-key", ERROR, "model", "a key of an accelerator that the backend refuses", refused_key),
    Rule("config-refused-value", ERROR, "model", "a value that the backend refuses", refused_value),
    Rule("config-optional", ERROR, "model", "an optional input of the onnxruntime backend", optional_input),
    Rule(
        "config-queue",
        WARNING,
        "model",
        "a bound, a timeout or priorities of a queue, which make it stall",
        queue_stalls,
    ),
    Rule("config-instances", WARNING, "model", "instances that are left to Triton", unset_instances),
)
