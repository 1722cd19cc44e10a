"""Merges an adapter into its base in fp32, and proves the merge.

peft is too lenient for an export: it drops weights that have no place in the model, leaves missing weights at their random
initial values, and only warns. Here each of these is an error. The user's files are never changed.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ...core.types import Checkpoint
from ...core.wording import some
from ...errors import AdapterError, HeadMissing
from .files import CONFIG, PREFIX, lacks
from .names import RenamedModules, depth_of, fit_names
from .source import Adapter, load_weights
from .vocabulary import require_rows, tokens_of

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig, PeftModel

log = logging.getLogger(__name__)

#: The largest allowed difference between the merged model and the model with its adapter. It is relative to the largest output
#: value if that exceeds 1. Both compute the same sums in different orders, and fp32 rounding errors grow with the values.
TOLERANCE = 1e-5
#: How many real inputs prove the merge.
_PROBES = 8


@dataclass(frozen=True)
class MergeReport:
    """What was merged, and the proof.

    `adapter_difference`: the largest difference between the merged model and the model with its adapter; at most `allowed`.
    `base_difference`: the largest difference between the merged model and the base with the adapter's head. `modules`: how
    many modules the adapter changes. `target_modules`: the last components of their names. `saved_modules`: the modules that
    the adapter replaces entirely. `renamed`: the adapter used the names of another version of transformers.
    """

    peft_type: str
    modules: int
    target_modules: tuple[str, ...]
    ranks: tuple[int, ...]
    saved_modules: tuple[str, ...]
    renamed: bool
    adapter_difference: float
    allowed: float
    base_difference: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def merge(checkpoint: Checkpoint, adapter: Adapter) -> Checkpoint:
    """The checkpoint with the adapter merged into its model, proved on real inputs.

    Raises AdapterError, and HeadMissing for a head that neither the base nor the adapter has.
    """
    probe = _probe(checkpoint, tokens_of(checkpoint, adapter))
    renamed = checkpoint.family.renamed_modules
    model, report = merge_adapter(checkpoint.model, adapter, renamed, checkpoint.missing, probe)
    about = {
        "given": str(adapter.folder),
        "base": adapter.base,
        "digests": dict(adapter.digests),
        "merge": report.to_json(),
    }
    return replace(checkpoint, model=model, missing=frozenset(), adapter=about)


def _probe(checkpoint: Checkpoint, tokens: str) -> Callable[[torch.nn.Module], Sequence[torch.Tensor]]:
    """A function that runs a model on a few real inputs of each part of the task. One begins with the adapter's `tokens`."""
    import torch

    from ..preprocessing import items_of, preprocessor_of, texts_in
    from ..sample_inputs import parity_inputs
    from ..task_model import TaskModel

    batches = []
    for endpoint in checkpoint.task.endpoints:
        preprocessor = preprocessor_of(checkpoint, endpoint)
        inputs = {name: values[:_PROBES] for name, values in parity_inputs(checkpoint, endpoint).items()}
        if tokens and "text" in inputs:
            first, *others = texts_in(inputs, "text")
            inputs["text"] = (f"{tokens} {first}", *others)
        rows = [row for item in items_of(preprocessor, inputs) for row in item.rows][:_PROBES]
        batches.append((endpoint, preprocessor.feeds(rows)))

    def run(model: torch.nn.Module) -> list[torch.Tensor]:
        outputs: list[torch.Tensor] = []
        for endpoint, feeds in batches:
            module = TaskModel(replace(checkpoint, model=model), endpoint)
            outputs += module(*(torch.from_numpy(feeds[name]) for name in module.inputs))
        return outputs

    return run


def merge_adapter(
    model: torch.nn.Module,
    adapter: Adapter,
    renamed_modules: RenamedModules,
    missing: frozenset[str],
    probe: Callable[[torch.nn.Module], Sequence[torch.Tensor]],
) -> tuple[torch.nn.Module, MergeReport]:
    """Merges the adapter into its base in place, and proves the merge with what `probe` computes from real inputs.

    `model`: the base in fp32 and evaluation mode, with the task's head. `renamed_modules`: the family's table.
    `missing`: the parameters that the base's checkpoint lacks; the adapter must supply all of them. `probe` runs a model and
    returns its outputs. Raises AdapterError, and HeadMissing for a head that would be random.
    """
    import torch
    from peft import PeftType

    config, weights, renamed = fit_names(model, _peft_config(adapter), load_weights(adapter), renamed_modules)
    peft_type = PeftType(config.peft_type).value
    modules = {path for path, _ in model.named_modules()}
    _require_places(
        sorted(name for name in weights if name.startswith(PREFIX) and not depth_of(name, modules)), adapter
    )
    random = sorted(missing - {name.removeprefix(PREFIX) for name in weights})
    if random:
        raise HeadMissing(
            f"neither the base nor the adapter in {adapter.folder} has {some(random)}, which would be random: was it in"
            " modules_to_save when the adapter was trained?"
        )
    names = set(model.state_dict())
    with _peft_errors(adapter):
        adapted = _inject(model, config, weights, adapter)
        tuners, saved = _changed_modules(adapted)
    require_rows(model, adapter)
    with torch.no_grad():
        with_adapter = probe(model)
        _enable(adapted, False)
        base = probe(model)
        _enable(adapted, True)
    with _peft_errors(adapter):
        merged = adapted.merge_and_unload(safe_merge=True)
    if set(merged.state_dict()) != names:
        raise AdapterError(f"peft leaves parts of a {peft_type} adapter in the model that it merged")
    merged.eval().requires_grad_(False)
    with torch.no_grad():
        outputs = probe(merged)
    report = MergeReport(
        peft_type=peft_type,
        modules=len(tuners),
        target_modules=tuple(sorted({name.rpartition(".")[2] for name in tuners})),
        ranks=tuple(sorted({rank for ranks in tuners.values() for rank in ranks})),
        saved_modules=saved,
        renamed=renamed,
        adapter_difference=_largest_difference(with_adapter, outputs),
        allowed=TOLERANCE * max(1.0, *(output.abs().max().item() for output in with_adapter)),
        # tokens that the base lacks have no logits without the adapter
        base_difference=_largest_difference(
            [torch.where(one.isnan(), other, one) for one, other in zip(base, outputs, strict=True)], outputs
        ),
    )
    _require_proof(report, adapter)
    return merged, report


def _require_proof(report: MergeReport, adapter: Adapter) -> None:
    if not report.adapter_difference <= report.allowed:  # NaN must fail too
        raise AdapterError(
            f"the adapter in {adapter.folder} cannot be merged: the merged model's outputs differ by"
            f" {report.adapter_difference:.2g} from those with the adapter, more than {report.allowed:.2g}. Weights that"
            " two modules share, such as tied embeddings, cannot take an adapter on one of them"
        )
    if not report.base_difference > report.allowed:
        raise AdapterError(
            f"the adapter in {adapter.folder} changes no output by more than {report.base_difference:.2g}: was it trained?"
        )


def _peft_config(adapter: Adapter) -> PeftConfig:
    """The config as peft reads it. Raises AdapterError for a non-empty setting that only a newer peft knows."""
    from dataclasses import fields

    import peft
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    kind = PEFT_TYPE_TO_CONFIG_MAPPING[adapter.config["peft_type"]]
    # peft writes these names, but removes them before it builds the config
    known = {field.name for field in fields(kind)} | {"auto_mapping", "peft_version", "runtime_config"}
    unknown = sorted(name for name, value in adapter.config.items() if name not in known and value)
    if unknown:
        raise AdapterError(
            f"{adapter.folder / CONFIG} has settings that peft {peft.__version__} does not know: {some(unknown)};"
            " upgrade it: pip install --upgrade peft"
        )
    with _peft_errors(adapter):
        config: PeftConfig = kind.from_pretrained(str(adapter.folder))
        config.inference_mode = True
    return config


def _inject(
    model: torch.nn.Module, config: PeftConfig, weights: dict[str, torch.Tensor], adapter: Adapter
) -> PeftModel:
    """The model with the adapter in its layers. Every adapter weight has its place, and none is left random."""
    from peft import PeftModel
    from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

    adapted = PeftModel(model, config).eval()
    expected = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    absent = sorted(set(expected) - set(weights))
    if absent:
        raise AdapterError(lacks(adapter.folder, absent))
    try:
        loaded: Any = set_peft_model_state_dict(adapted, weights)
    except RuntimeError as error:
        misfits = [
            f"{name.removeprefix(PREFIX)} is {list(weights[name].shape)}, and the base takes {list(expected[name].shape)}"
            for name in sorted(expected)
            if weights[name].shape != expected[name].shape
        ]
        if not misfits:
            raise
        raise AdapterError(
            f"the adapter in {adapter.folder} does not fit this base: {some(misfits, 2, '; ')}"
        ) from error
    # peft saves some weights of modules_to_save twice, and loads them once
    twice = ".modules_to_save."
    strays = [name for name in loaded.unexpected_keys if twice not in name or name.replace(twice, ".") not in weights]
    _require_places(sorted(strays), adapter)
    return adapted


def _require_places(strays: Sequence[str], adapter: Adapter) -> None:
    """`strays`: the adapter's weights that the model has no place for."""
    if strays:
        raise AdapterError(
            f"the base has no place for weights of the adapter in {adapter.folder}: {some(strays)}. Was it trained on"
            " another base or for another task?"
        )


def _enable(adapted: PeftModel, enabled: bool) -> None:
    """Switches the adapter on or off in each layer; heads that it replaces entirely stay."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in adapted.modules():
        if isinstance(module, BaseTunerLayer):
            module.enable_adapters(enabled)


def _changed_modules(adapted: PeftModel) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
    """Path -> ranks of each module that the adapter changes, and the modules that it replaces. Only LoRA's relatives have
    ranks."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    modules = dict(adapted.get_base_model().named_modules())
    tuners = {path: module for path, module in modules.items() if isinstance(module, BaseTunerLayer)}
    ranks = {
        path: tuple(rank for rank in getattr(module, "r", {}).values() if isinstance(rank, int))
        for path, module in tuners.items()
    }
    return ranks, tuple(path for path, module in modules.items() if isinstance(module, ModulesToSaveWrapper))


@contextmanager
def _peft_errors(adapter: Adapter) -> Iterator[None]:
    """Raises peft's errors as AdapterError, and logs its warnings."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise AdapterError(f"peft cannot apply the adapter in {adapter.folder} to this base: {reason[:500]}") from error
    for warning in caught:
        log.info("peft: %s", warning.message)


def _largest_difference(expected: Sequence[torch.Tensor], actual: Sequence[torch.Tensor]) -> float:
    import torch

    return torch.stack([(one - other).abs().max() for one, other in zip(expected, actual, strict=True)]).max().item()
