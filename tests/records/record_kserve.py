"""Writes tests/records/kserve.json: the schema of KServe's ServingRuntime and InferenceService, as its Python SDK describes them.

    pip download --no-deps kserve==0.21.0
    python tests/records/record_kserve.py kserve-0.21.0-py3-none-any.whl

The SDK's models are generated from KServe's OpenAPI document (Apache-2.0). Installing it would bring a web framework and pandas,
so the wheel is read without being imported: of each class its attributes' names, types, and which may not be missing. Types of
Kubernetes refer to `_definitions.json` of the package kubernetes-validate.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).with_name("kserve.json")
ROOTS = ("V1alpha1ServingRuntime", "V1beta1InferenceService")
PLAIN = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "object": {},
    "datetime": {"type": "string"},
    "file": {"type": "string"},
}
#: Quantities may be numbers or texts; the SDK has no class for them.
QUANTITY = {"type": ["string", "number"]}
#: Where Kubernetes keeps the types that the SDK calls V1X.
GROUPS = ("io.k8s.api.core.v1", "io.k8s.apimachinery.pkg.apis.meta.v1")
OF_META = ("ObjectMeta", "LabelSelector", "ListMeta")


def classes_in(wheel: zipfile.ZipFile) -> dict[str, tuple[dict[str, str], dict[str, str], list[str]]]:
    """Class -> the types of its attributes, their names in JSON, and those that may not be missing."""
    found = {}
    for name in wheel.namelist():
        if not re.fullmatch(r"kserve/models/v1\w+\.py", name):
            continue
        text = wheel.read(name).decode()
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                tables = {
                    one.targets[0].id: ast.literal_eval(one.value)
                    for one in node.body
                    if isinstance(one, ast.Assign) and isinstance(one.value, ast.Dict)
                }
                needed = re.findall(r"Invalid value for `(\w+)`, must not be `None`", text)
                found[node.name] = tables["openapi_types"], tables["attribute_map"], needed
    return found


def schema_of(kind: str, known: dict) -> dict[str, Any]:
    if kind in PLAIN:
        return PLAIN[kind]
    if kind == "ResourceQuantity":
        return QUANTITY
    if made := re.fullmatch(r"list\[(.*)\]", kind):
        return {"type": "array", "items": schema_of(made[1], known)}
    if made := re.fullmatch(r"dict\(str, (.*)\)", kind):
        return {"type": "object", "additionalProperties": schema_of(made[1], known)}
    if kind in known:
        return {"$ref": f"#/$defs/{kind}"}
    kubernetes = "/api/_definitions.json#/$defs"
    if kind == "K8sIoApiAppsV1DeploymentStrategy":
        return {"$ref": f"{kubernetes}/io.k8s.api.apps.v1.DeploymentStrategy"}
    if made := re.fullmatch(r"V1([A-Z]\w*)", kind):
        return {"$ref": f"{kubernetes}/{GROUPS[made[1] in OF_META]}.{made[1]}"}
    return {}  # what the SDK has no class for


def main(path: str) -> None:
    known = classes_in(zipfile.ZipFile(path))
    definitions: dict[str, Any] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name in definitions:
            continue
        types, names, needed = known[name]
        own = {names[key]: schema_of(kind, known) for key, kind in types.items() if key != "status"}
        definitions[name] = {
            "type": "object",
            "properties": own,
            "required": sorted(names[key] for key in needed),
            "additionalProperties": False,
        }
        waiting += re.findall(r"\"#/\$defs/(V1\w+)\"", json.dumps(own))
    document = {
        "$comment": f"made by {Path(__file__).name} from {Path(path).name} (Apache-2.0, The KServe Authors)",
        "$defs": dict(sorted(definitions.items())),
    }
    OUTPUT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
