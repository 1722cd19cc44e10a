"""Versions: those that the config, the frontend and the graph behind it refer to."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

from ..core.frontend_settings import DecoderSettings, EncoderSettings, GraphModel
from ..core.layout import CONFIG, FRONT, graph_model
from .finding import ERROR, NOTE, WARNING, Problem, Rule
from .models import Lint, Model


def none_there(lint: Lint, model: Model) -> Iterator[Problem]:
    if not model.versions:
        yield Problem(model.name, "it has no version: Triton loads folders that are named by a number, such as 1")


def named_by_policy(lint: Lint, model: Model) -> Iterator[Problem]:
    for version in model.config.version_policy.specific.versions if model.versions else ():
        if version not in model.versions:
            found = ", ".join(map(str, model.versions)) or "none"
            yield Problem(
                lint.line(model, "version_policy"),
                f"it serves version {version}, which is not there (there: {found}): hf2triton rollback serves one that is",
            )


def called_by_frontend(lint: Lint, model: Model) -> Iterator[Problem]:
    """Checks the version of the graph that a frontend calls."""
    for version in model.loaded:
        settings = model.frontend(version)
        if not isinstance(settings, EncoderSettings) or not isinstance(settings.runner, GraphModel):
            continue
        where, runner = f"{model.name}/{version}/{FRONT}", settings.runner
        called, number = lint.every.get(runner.model), runner.model_version
        if called is None:
            yield Problem(
                where, f"the frontend calls {runner.model!r}, which is not there: export or publish the entry again"
            )
        elif number not in called.versions:
            found = ", ".join(map(str, called.versions)) or "none"
            yield Problem(
                where, f"the frontend calls version {number} of {called.name!r}, which is not there (there: {found})"
            )
        elif number not in called.loaded:
            loaded = ", ".join(map(str, called.loaded)) or "none"
            yield Problem(
                where,
                f"the frontend calls version {number} of {called.name!r}, which is not loaded ({loaded}): name it in the"
                f" version_policy of {called.name}/{CONFIG}",
            )


def two_frontends(lint: Lint) -> Iterator[Problem]:
    """All frontends of an entry must serve the same version."""
    served: dict[str, dict[str, int]] = {}
    for model in lint.models:
        if model.manifest is not None:
            served.setdefault(model.manifest.owner, {})[model.name] = model.manifest.version
    for entry, frontends in served.items():
        if len(set(frontends.values())) > 1:
            found = ", ".join(f"{name} version {version}" for name, version in frontends.items())
            yield Problem(
                entry, f"its frontends serve different versions: {found}. hf2triton rollback {entry} VERSION serves one"
            )


def manifest_differs(lint: Lint, model: Model) -> Iterator[Problem]:
    """Compares the manifest with the folder, the name and the config beside it."""
    about = model.manifest
    if about is None:
        return
    where, version = f"{model.name}/{model.loaded[-1]}/manifest.json", model.loaded[-1]
    if (about.name, about.version) != (model.name, version):
        yield Problem(
            where,
            f"it is that of {about.name!r}, version {about.version}: was the folder copied by hand? hf2triton publish"
            " copies entries",
        )
    rows = about.serving.max_batch_size
    if model.config.max_batch_size not in (0, rows):
        yield Problem(
            lint.line(model, "max_batch_size"),
            f"max_batch_size is {model.config.max_batch_size}; the entry was proved with {rows}: export it again to change it",
        )
    behind = lint.every.get(graph_model(model.name))
    if (
        about.has_graph_model
        and behind is not None
        and behind.parsed[1] is None
        and behind.config.max_batch_size < rows
    ):
        yield Problem(
            f"{behind.name}/{CONFIG}",
            f"max_batch_size is {behind.config.max_batch_size}, and the frontend calls it with up to {rows} rows: export it"
            " again",
        )


def other_code(lint: Lint, model: Model) -> Iterator[Problem]:
    """Frontends written by another version of hf2triton. They are intact, as their digests show, but lack later fixes."""
    if model.manifest is None:
        return
    code = resources.files("hf2triton.triton_models")
    version = str(model.loaded[-1])
    generates = isinstance(model.frontend(model.loaded[-1]), DecoderSettings)
    renamed = {"model.py": "generation_frontend.py" if generates else "frontend.py"}
    differing = []
    for name in model.manifest.files:
        path = model.folder / version / name
        if not name.endswith(".py") or not path.is_file():
            continue
        ours = code.joinpath(*renamed.get(name, name).split("/"))
        if not ours.is_file() or ours.read_bytes() != path.read_bytes():
            differing.append(name)
    if differing:
        yield Problem(
            f"{model.name}/{version}",
            f"its code is not that of this hf2triton ({', '.join(sorted(differing)[:3])}{' …' * (len(differing) > 3)}): export it"
            " again to have the newest",
            more=tuple(sorted(differing)),
        )


RULES = (
    Rule("version-none", ERROR, "model", "a model without a version", none_there),
    Rule("version-policy", ERROR, "model", "a version that the config serves and that is not there", named_by_policy),
    Rule(
        "version-graph",
        ERROR,
        "model",
        "a version of the graph that a frontend calls and that is not loaded",
        called_by_frontend,
    ),
    Rule("version-fronts", ERROR, "repository", "frontends of one entry that serve different versions", two_frontends),
    Rule(
        "version-manifest",
        WARNING,
        "model",
        "a manifest that belongs elsewhere, or a batch that was not proved",
        manifest_differs,
    ),
    Rule("version-code", NOTE, "model", "a frontend whose code is not that of this hf2triton", other_code),
)
