"""The tables that pages take from the code, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any

import click
import schema_tables
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton import errors
from hf2triton.cli import main
from hf2triton.core.options import ExportOptions
from hf2triton.engines import ENGINES
from hf2triton.engines.common.backend_keys import KEYS
from hf2triton.errors import Hf2TritonError
from hf2triton.families import FAMILIES
from hf2triton.repository.config import _ANSWERS, _OF_PREPROCESSOR, _OF_WORDS
from hf2triton.repository.decoder_frontend import _INPUTS, _OUTPUTS
from hf2triton.tasks import TASKS
from hf2triton.tasks.base import Task
from hf2triton.triton_models import fill_mask, question_answering, sentences, sparse
from hf2triton.triton_models.generation import settings
from hf2triton.triton_models.preprocessors import PREPROCESSORS
from hf2triton_client import errors as client_errors
from hf2triton_client.errors import ClientError
from hf2triton_client.evaluation.datasets import _FORMS
from hf2triton_client.evaluation.scores import _METRICS
from hf2triton_client.pipelines import PIPELINES


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    head = list(header)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def code(names: Iterable[object]) -> str:
    """Names as code, with commas."""
    return ", ".join(f"`{name}`" for name in names)


def _type(kind: int) -> str:
    """A tensor's type, as KServe's protocol names it."""
    name: str = pb.DataType.Name(kind)
    return name.removeprefix("TYPE_").replace("STRING", "BYTES")


def commands() -> str:
    """Every command, under the headings of `hf2triton --help`."""
    formatter = click.HelpFormatter()
    main.format_commands(click.Context(main, info_name="hf2triton"), formatter)
    lines = []
    for line in formatter.getvalue().splitlines():
        name = line.split()[0] if line.startswith("  ") and not line.startswith("   ") else ""
        if name in main.commands:
            function = main.commands[name].callback
            assert function is not None
            # the name alone is the anchor that other pages link to
            lines += [f'<a id="{name}"></a>', "", "::: mkdocs-click", f"    :module: {function.__module__}"]
            lines += [f"    :command: {function.__name__}", f"    :prog_name: hf2triton {name}", "    :depth: 2", ""]
        elif line and not line.startswith(" "):
            lines += [f"## {line.removesuffix(':')}", ""]
    return "\n".join(lines)


def tasks() -> str:
    rows = []
    for task in TASKS.values():
        also = f"<br>also {code(task.aliases)}" if task.aliases else ""
        families = [family.name for family in FAMILIES.values() if task.name in family.tasks]
        rows.append([f"`{task.name}`{also}", code(families), code(f"NAME{end.suffix}" for end in task.endpoints)])
    return table(["Task", "Families (`model_type`)", "Models"], rows)


def families() -> str:
    rows = [
        [f"`{family.name}`", f"`{architecture}`", code(tasks)]
        for family in FAMILIES.values()
        for architecture, tasks in family.architectures.items()
    ]
    return table(["Family", "Class in config.json", "Tasks"], rows)


def tolerances() -> str:
    def of(found: Any) -> str:
        parts = [f"{found.max_abs:g}", f"{found.mean_abs:g}", "–" if found.cosine is None else f"{found.cosine:g}"]
        return " / ".join(parts)

    rows = [
        [f"`{task.name}{endpoint.suffix}`", f"`{output.name}`", *map(of, output.tolerances.values())]
        for task in TASKS.values()
        for endpoint in task.endpoints
        for output in endpoint.outputs
    ]
    return table(["Task", "Output", "fp32", "fp16", "int8"], rows)


def labelled_data() -> str:
    rows = []
    for task, form in _FORMS.items():
        names = [
            f"`{name}`" + (f" ({', '.join(others)})" if (others := [one for one in known if one != name]) else "")
            for name, known in form.columns.items()
        ]
        rows.append([f"`{task}`", "<br>".join(names), ", ".join(_METRICS[task])])
    return table(["Task", "Columns, and the names that are recognised", "Metrics"], rows)


def tensors() -> str:
    def rows_of(task: Task) -> Iterable[list[str]]:
        for endpoint in task.endpoints:
            if endpoint.kind == "decoder":
                continue
            inputs = [f"`{name}`{'' if needed else ' (optional)'}" for name, needed in _inputs(endpoint).items()]
            outputs = [*endpoint.outputs, *_OF_PREPROCESSOR[endpoint.preprocessor]]
            names = [getattr(output, "name", output) for output in outputs]
            names += list(_OF_WORDS) if task.joins_words else []
            yield [f"`{task.name}{endpoint.suffix}`", "<br>".join(inputs), code(names)]

    return table(["Task", "Inputs", "Outputs"], [row for task in TASKS.values() for row in rows_of(task)])


def _inputs(endpoint: Any) -> Mapping[str, bool]:
    return PREPROCESSORS[endpoint.preprocessor].inputs


def answers() -> str:
    """What frontends return besides their graph's outputs."""
    rows = [[f"`{name}`", _type(kind), f"`{[-1, *dims]}`"] for name, (kind, dims, _) in _ANSWERS.items()]
    return table(["Output", "Type", "Shape"], rows)


def generate_inputs() -> str:
    rows = [
        [f"`{name}`", _type(kind), f"`{dims}`", "yes" if needed else "no"]
        for name, (kind, dims, needed) in _INPUTS.items()
    ]
    return table(["Input", "Type", "Shape", "Required"], rows)


def generate_outputs() -> str:
    return table(
        ["Output", "Type", "Shape"],
        [[f"`{name}`", _type(kind), f"`{dims}`"] for name, (kind, dims) in _OUTPUTS.items()],
    )


def _parameters(defaults: Any, checks: Mapping[str, Any]) -> str:
    """The settings of a request, with their defaults and what is accepted."""
    known = {own.name: own.default for own in fields(defaults)} if defaults else {}
    rows = [[f"`{name}`", _shown(known.get(name, MISSING)), accepted] for name, (accepted, _) in checks.items()]
    return table(["Name", "Default", "Accepted values"], rows)


def _shown(value: object) -> str:
    if value is None or value is MISSING or value == ():
        return "–"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def pipeline_options() -> str:
    rows = [
        [
            f"`{cls.task}`",
            f"[`{cls.__name__}`][{cls.__module__}.{cls.__name__}]",
            code(sorted(cls.options)),
            cls.batch_size,
        ]
        for cls in PIPELINES
    ]
    return table(["Task", "Class", "Options of a call", "`batch_size`"], rows)


def statuses() -> str:
    rows: dict[str, list[str]] = {}
    for row in client_errors.TABLE:
        if row.error.__name__ not in rows.setdefault(row.code, []):
            rows[row.code].append(row.error.__name__)
    return table(
        ["gRPC status", "Error of the client"], [[f"`{status}`", code(names)] for status, names in rows.items()]
    )


def exit_codes() -> str:
    rows = [*_errors(Hf2TritonError, errors.__name__), *_errors(ClientError, client_errors.__name__)]
    return table(["Error", "Exit code", "Meaning"], rows)


def _errors(base: type[Exception], module: str, depth: int = 0) -> Iterable[list[object]]:
    exit_code = getattr(base, "exit_code", 2 if issubclass(base, client_errors.InputError) else 1)
    meaning = (base.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    yield [f"{'– ' * depth}`{base.__name__}`", exit_code, " ".join(meaning.split())]
    for own in base.__subclasses__():
        if own.__module__ == module:
            yield from _errors(own, module, depth + 1)


def export_options() -> str:
    """The fields of ExportOptions that an export can be given, and what they mean."""
    rows = [
        [f"`{own.name}`", option.default or _shown(own.default), option.help]
        for own in fields(ExportOptions)
        if (option := own.metadata.get("option"))
    ]
    return table(["Field", "Default", "Meaning"], rows)


def backend_keys() -> str:
    rows = [
        [f"`{place}`", f"`{key}`", _IN_WORDS.get(own.values, f"`{own.values}`"), own.first or "any"]
        for (place, key), own in KEYS.items()
    ]
    return table(["Place", "Key", "Values", "Releases from"], rows)


def written_keys() -> str:
    """What the configs of graphs on GPUs get."""
    found: dict[tuple[str, str], list[str]] = {}
    for engine in ENGINES.values():
        for place, own in {"parameters": engine.parameters, **engine.accelerators}.items():
            for setting in own:
                found.setdefault((place, setting.key), []).append(engine.name)
    rows = [[f"`{place}`", f"`{key}`", code(devices)] for (place, key), devices in found.items()]
    return table(["Place", "Key", "`--device`"], rows)


#: Regular expressions of values, as a reader puts them; any other is shown as it is.
_IN_WORDS = {
    "[01]|[Tt]rue|[Ff]alse": "`0`, `1`, `true`, `false`",
    "[01]": "`0`, `1`",
    "[012]": "`0`, `1`, `2`",
    r"\d+": "a number",
    r"-?\d+": "a number, also below 0",
    r"[1-9]\d*": "a number above 0",
    ".+": "a text",
    "/.+": "an absolute path",
    r"\w+:\d+(x\d+)*(,\w+:\d+(x\d+)*)*": "shapes: `input_ids:1x128,attention_mask:1x128`",
    "FP32|FP16|BF16|INT8": "`FP32`, `FP16`, `BF16`, `INT8`",
}


#: The name in a page -> its text.
TABLES: Mapping[str, Callable[[], str]] = {
    "answers": answers,
    "backend_keys": backend_keys,
    "build_schema": lambda: schema_tables.of("build"),
    "commands": commands,
    "exit_codes": exit_codes,
    "export_options": export_options,
    "families": families,
    "fill_mask_parameters": lambda: _parameters(fill_mask.FillMaskParameters, fill_mask._CHECKS),
    "generate_inputs": generate_inputs,
    "generate_outputs": generate_outputs,
    "generate_settings": lambda: _parameters(settings.Settings, settings._CHECKS),
    "labelled_data": labelled_data,
    "pipeline_options": pipeline_options,
    "question_parameters": lambda: _parameters(question_answering.QuestionParameters, question_answering._CHECKS),
    "report_schema": lambda: schema_tables.of("report"),
    "sentence_parameters": lambda: _parameters(None, sentences.CHECKS),
    "sparse_parameters": lambda: _parameters(None, sparse._CHECKS),
    "statuses": statuses,
    "tasks": tasks,
    "tensors": tensors,
    "tolerances": tolerances,
    "written_keys": written_keys,
}
