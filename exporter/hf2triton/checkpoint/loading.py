"""The stages that load a checkpoint, for exports and for all other code that runs PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.options import ExportOptions, ResolvedOptions
from ..core.stages import Stages
from ..engines.common.resolve import resolve

if TYPE_CHECKING:
    from ..core.types import Checkpoint


def load(stages: Stages, options: ExportOptions) -> tuple[Checkpoint, ResolvedOptions]:
    """The checkpoint that the options name, with its adapter merged, and the options resolved for its task."""
    from .precheck import look_at_files

    found = stages.run("look at the files", look_at_files, options)

    # heavy imports wait until the cheap checks have passed
    from .adapters.merge import merge
    from .adapters.source import require_sound
    from .loader import load_checkpoint, require_known_tokens
    from .source import with_digests

    source, adapter = stages.run("take their digests", with_digests, found.source), found.adapter
    if adapter is not None:
        stages.run("check the adapter", require_sound, adapter)
    checkpoint = stages.run(
        "load the checkpoint",
        load_checkpoint,
        source,
        found.task.name,
        adapter,
        options.labels,
        options.token_embeddings,
    )
    options = stages.run("choose what the task needs", resolve, options, checkpoint.task)
    if adapter is not None:
        checkpoint = stages.run("merge the adapter", merge, checkpoint, adapter)
    stages.run("check the tokens", require_known_tokens, checkpoint)
    return checkpoint, options
