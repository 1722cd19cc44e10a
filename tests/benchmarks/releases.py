"""What runs on which Triton release: trained checkpoints of all families, exported for each and verified: `make releases`.

Prints a Markdown table. A cell says for which precisions all checkpoints gave PyTorch's answers in the release's onnxruntime, on
this CPU; "–" where the export was refused, the graph did not load or the answers were wrong. `--report FILE` has the reasons
and all differences. Rows that load the same IR and opset share their graphs, which are exported without `--release` for
all that load the default: so what an export for them would refuse is tried as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path

from hf2triton.cli.console import write_report
from hf2triton.core.options import ExportOptions
from hf2triton.errors import ExportError
from hf2triton.export.pipeline import export
from hf2triton.graph.passes.release import IR_VERSION, OPSET, RELEASES, Release
from hf2triton.verify.verify import verify

from ..support import ASSETS

BIASED = ("mpnet-sentiment", "modernbert-mlm")
#: Their attention is BERT's, with a mask alone.
LIKE_BERT = ("electra-ner", "roberta-ner", "xlm-roberta-sentiment", "camembert-mlm")
LIKE_VIT = ("deit-fashion", "dinov2-fashion", "dinov2-registers-fashion", "siglip-fashion")
ENCODERS = ("bert-sentiment", "bert-qa", "distilbert-mlm", "vit-fashion", "clip-fashion")
#: column -> its checkpoints, attention and precisions
COLUMNS = {
    "fused": (ENCODERS[:-1], "fused", ("fp32", "fp16", "int8")),
    "fused-any-mask": (ENCODERS[:-1], "fused-any-mask", ("fp32", "fp16")),
    "CLIP, fused": (ENCODERS[-1:], "fused", ("fp32", "fp16", "int8")),
    "standard": ((*ENCODERS, *BIASED, "deberta-v2-sentiment"), "standard", ("fp32", "fp16")),
    "DeBERTa, fused": (("deberta-v2-sentiment",), "fused", ("fp32", "fp16", "int8")),
    "MPNet, ModernBERT, fused": (BIASED, "fused", ("fp32", "fp16", "int8")),
    "kin of BERT, fused": (LIKE_BERT, "fused", ("fp32", "fp16", "int8")),
    "kin of ViT, fused": (LIKE_VIT, "fused", ("fp32", "fp16", "int8")),
    "kin of BERT and ViT, standard": ((*LIKE_BERT, *LIKE_VIT), "standard", ("fp32", "fp16")),
    "GPT-2, fused": (("gpt2-verses",), "fused", ("fp32", "fp16", "int8")),
    "GPT-2, standard": (("gpt2-verses",), "standard", ("fp32", "fp16", "int8")),
    "GPT-Neo, fused": (("gptneo-verses",), "fused", ("fp32", "fp16", "int8")),
    "GPT-Neo, standard": (("gptneo-verses",), "standard", ("fp32", "fp16", "int8")),
    "OPT, fused": (("opt-verses",), "fused", ("fp32", "fp16", "int8")),
    "OPT, standard": (("opt-verses",), "standard", ("fp32", "fp16", "int8")),
}


def outcomes_of(repository: Path, made_for: Release, rows: list[Release]) -> dict[tuple, dict]:
    """(row, checkpoint, attention, precision) -> what came of it, for rows that share their graphs."""
    outcomes = {}
    release = None if made_for.ir_version >= IR_VERSION and made_for.opset >= OPSET else made_for.first
    for checkpoints, attention, precisions in COLUMNS.values():
        for checkpoint in checkpoints:
            for precision in precisions:
                name = f"{checkpoint}-{attention}-{precision}"
                print(f"{made_for.first} {name}", file=sys.stderr)
                key = checkpoint, attention, precision
                try:
                    export(
                        ExportOptions(
                            str(ASSETS / checkpoint),
                            name,
                            precision=precision,
                            attention=attention,
                            release=release,
                            repository=repository,
                        )
                    )
                except ExportError as error:
                    outcomes |= {(row, *key): {"passed": False, "runs": [], "refused": str(error)} for row in rows}
                    continue
                for run in verify(repository, name, [row.first for row in rows]):
                    outcome = outcomes.setdefault((run.release, *key), {"passed": True, "runs": []})
                    outcome["passed"] &= run.passed
                    outcome["runs"].append(run.to_json())
    return outcomes


def print_table(outcomes: dict[tuple, dict]) -> None:
    head = ("release", "onnxruntime", "IR", "opset", *COLUMNS)
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in RELEASES:
        cells = []
        for checkpoints, attention, precisions in COLUMNS.values():
            right = [
                precision
                for precision in precisions
                if all(outcomes[row, checkpoint, attention, precision]["passed"] for checkpoint in checkpoints)
            ]
            cells.append(", ".join(right) or "–")
        about = (row.span, row.onnxruntime, str(row.ir_version), str(row.opset))
        print(f"| {' | '.join([*about, *cells])} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    alike: dict[tuple[int, int], list[Release]] = defaultdict(list)
    for row in RELEASES:
        alike[min(row.ir_version, IR_VERSION), min(row.opset, OPSET)].append(row)
    outcomes: dict[tuple, dict] = {}
    for rows in alike.values():
        with tempfile.TemporaryDirectory(prefix="hf2triton-releases-") as folder:
            outcomes |= outcomes_of(Path(folder), rows[0], rows)
    print_table(outcomes)
    report = [
        {"release": row.span, "checkpoint": checkpoint, "attention": attention, "precision": precision, **outcome}
        for (row, checkpoint, attention, precision), outcome in outcomes.items()
    ]
    write_report(arguments.report, {"outcomes": report})


if __name__ == "__main__":
    main()
