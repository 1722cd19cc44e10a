"""Repositories with one thing wrong, for each rule of `hf2triton lint`."""

from __future__ import annotations

import shutil

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from hf2triton.core.layout import warmup_file

from .breaking import (
    Break,
    accelerator,
    appended,
    as_another_frontend,
    config,
    deleted,
    document,
    graph,
    linked,
    other_dims,
    parameter,
    second_version_alone,
    settings,
    written,
)

#: A file that `gpu_model` is warmed up with.
ONES = f"gpu_model/warmup/{warmup_file('ones_8', np.ones(8, np.int64).tobytes())}"
#: What is wrong, in words -> how it comes to be, and the rule that finds it.
BREAKS = {
    "a key that is misspelt": Break(
        "config-unreadable", "plain/config.pbtxt:", appended("plain/config.pbtxt", "max_batch_sise: 3\n")
    ),
    "a config that is none": Break("config-unreadable", "plain/config", written("plain/config.pbtxt", b"name = 3 {\n")),
    "no config": Break("config-missing", "plain/config", lambda folder: (folder / "plain/config.pbtxt").unlink()),
    "another name": Break(
        "config-name", "plain/config.pbtxt:1", config("plain", lambda own: setattr(own, "name", "x"))
    ),
    "a parameter that nobody reads": Break(
        "config-ignored-key", "gpu_model/", parameter("gpu_model", "log_severity_level", "3")
    ),
    "a key of sessions": Break(
        "config-ignored-key", "gpu_model/", parameter("gpu_model", "session.intra_op.allow_spinning", "0")
    ),
    "a key of TensorRT among the parameters": Break(
        "config-ignored-key", "trt_model/", parameter("trt_model", "trt_engine_cache_enable", "1")
    ),
    "a limit where it is overwritten": Break(
        "config-ignored-key", "gpu_model/", accelerator("gpu_model", 0, "gpu_mem_limit", "9")
    ),
    "a parameter that no frontend reads": Break(
        "config-ignored-key", "plain/config", parameter("plain", "threads", "3")
    ),
    "a level that means nothing": Break(
        "config-ignored-key", "gpu_model/", config("gpu_model", lambda own: setattr(own.optimization.graph, "level", 5))
    ),
    "TensorRT's own name": Break(
        "config-refused-key", "trt_model/", accelerator("trt_model", 0, "trt_fp16_enable", "1")
    ),
    "an option that CUDA lacks": Break(
        "config-refused-key", "gpu_model/", accelerator("gpu_model", 0, "use_tf23", "1")
    ),
    "an unknown accelerator": Break(
        "config-refused-key",
        "gpu_model/",
        config(
            "gpu_model",
            lambda own: own.optimization.execution_accelerators.gpu_execution_accelerator.add(name="openvino"),
        ),
    ),
    "an accelerator that the release lacks": Break(
        "config-refused-key",
        "gpu_model/",
        document("gpu/1/manifest.json", lambda about: about["graph"].update(release="24.05")),
        frozenset({"release-cve"}),
    ),
    "a parameter that the release does not read": Break(
        "config-ignored-key",
        "gpu_model/",
        lambda folder: (
            parameter("gpu_model", "session.use_device_allocator_for_initializers", "1")(folder),
            document("gpu/1/manifest.json", lambda about: about["graph"].update(release="25.01"))(folder),
        ),
        frozenset({"release-cve"}),
    ),
    "a precision in small letters": Break(
        "config-refused-value", "trt_model/", accelerator("trt_model", 0, "precision_mode", "fp16")
    ),
    "no number of threads": Break(
        "config-refused-value", "gpu_model/", parameter("gpu_model", "intra_op_thread_count", "")
    ),
    "a strategy that is none": Break(
        "config-refused-value", "gpu_model/", parameter("gpu_model", "arena_extend_strategy", "2")
    ),
    "an optional input": Break(
        "config-optional", "gpu_model/", config("gpu_model", lambda own: setattr(own.input[1], "optional", True))
    ),
    "a bounded queue": Break(
        "config-queue",
        "plain/config",
        config("plain", lambda own: setattr(own.dynamic_batching.default_queue_policy, "max_queue_size", 9)),
    ),
    "priorities": Break(
        "config-queue", "plain/config", config("plain", lambda own: setattr(own.dynamic_batching, "priority_levels", 3))
    ),
    "no instances": Break(
        "config-instances", "plain/config", config("plain", lambda own: deleted(own.instance_group, slice(None)))
    ),
    "no version": Break("version-none", "plain", lambda folder: shutil.rmtree(folder / "plain/1")),
    "a version that is not there": Break(
        "version-policy", "plain/config", config("plain", lambda own: own.version_policy.specific.versions.append(7))
    ),
    "a graph of another version": Break(
        "version-graph", "gpu/1/front.json", lambda folder: (folder / "gpu_model/1").rename(folder / "gpu_model/2")
    ),
    "a graph that is not loaded": Break("version-graph", "gpu/1/front.json", second_version_alone),
    "a graph that is gone": Break(
        "version-graph", "gpu/1/front.json", lambda folder: shutil.rmtree(folder / "gpu_model")
    ),
    "fronts of different versions": Break(
        "version-fronts", "gpu", document("trt/1/manifest.json", as_another_frontend), frozenset({"version-manifest"})
    ),
    "a manifest from elsewhere": Break(
        "version-manifest", "plain/1/manifest", document("plain/1/manifest.json", lambda about: about.update(name="x"))
    ),
    "a batch that was not proved": Break(
        "version-manifest", "plain/config", config("plain", lambda own: setattr(own, "max_batch_size", 65))
    ),
    "a graph that takes smaller batches": Break(
        "version-manifest",
        "trt_model/config",
        config("trt_model", lambda own: (setattr(own, "max_batch_size", 32), deleted(own.model_warmup, 1))),
    ),
    "no graph": Break(
        "graph-missing", "gpu_model/1/model", lambda folder: (folder / "gpu_model/1/model.onnx").unlink()
    ),
    "a later IR": Break(
        "graph-release",
        "gpu_model/1/model",
        graph("gpu_model/1/model.onnx", lambda own: setattr(own, "ir_version", 14)),
    ),
    "a later opset": Break(
        "graph-release",
        "trt_model/1/model",
        graph("trt_model/1/model.onnx", lambda own: setattr(own.opset_import[0], "version", 99)),
    ),
    "a graph that is none": Break(
        "graph-release", "gpu_model/1/model", written("gpu_model/1/model.onnx", b"\xff" * 99)
    ),
    "a graph whose batch is fixed": Break("graph-config", "gpu_model/", graph("gpu_model/1/model.onnx", other_dims)),
    "an output of another size": Break(
        "graph-config", "gpu_model/", config("gpu_model", lambda own: own.output[0].dims.__setitem__(0, 4))
    ),
    "an output that is free": Break(
        "graph-config", "trt_model/", config("trt_model", lambda own: own.output[0].dims.__setitem__(0, -1))
    ),
    "an output of another type": Break(
        "graph-config", "gpu_model/", config("gpu_model", lambda own: setattr(own.output[0], "data_type", pb.TYPE_FP16))
    ),
    "an output that the graph lacks": Break(
        "graph-config", "gpu_model/", config("gpu_model", lambda own: setattr(own.output[0], "name", "logit"))
    ),
    "an input that is left out": Break(
        "graph-config",
        "gpu_model/",
        config("gpu_model", lambda own: deleted(own.input, 2)),
        frozenset({"warmup-input"}),
    ),
    "a warm-up without an input": Break(
        "warmup-input", "gpu_model/", config("gpu_model", lambda own: deleted(own.model_warmup[0].inputs, "input_ids"))
    ),
    "a warm-up of another type": Break(
        "warmup-shape",
        "gpu_model/",
        config("gpu_model", lambda own: setattr(own.model_warmup[0].inputs["input_ids"], "data_type", pb.TYPE_INT32)),
    ),
    "a warm-up of another shape": Break(
        "warmup-shape",
        "trt_model/",
        config("trt_model", lambda own: own.model_warmup[0].inputs["pixel_values"].dims.__setitem__(0, 1)),
    ),
    "a warm-up of too many rows": Break(
        "warmup-batch", "gpu_model/", config("gpu_model", lambda own: setattr(own.model_warmup[3], "batch_size", 65))
    ),
    "a file of the warm-up that is gone": Break("warmup-file", ONES, lambda folder: (folder / ONES).unlink()),
    "a file of the warm-up that is short": Break("warmup-file", ONES, written(ONES, b"\1" * 63)),
    "no warm-up": Break(
        "warmup-none", "gpu_model/", config("gpu_model", lambda own: deleted(own.model_warmup, slice(None)))
    ),
    "a file of the warm-up that was changed": Break("digest", ONES, written(ONES, b"\1" * 64)),
    "a tokenizer that was changed": Break("digest", "plain/1/tokenizer.json", appended("plain/1/tokenizer.json", " ")),
    "a file that is gone": Break(
        "digest", "verses/1/genai", lambda folder: (folder / "verses/1/genai_config.json").unlink()
    ),
    "a pickle": Break("file-pickle", "plain/1/extra.pkl", written("plain/1/extra.pkl", b"")),
    "a pickle by another name": Break(
        "file-pickle", "gpu_model/1/w.bin", written("gpu_model/1/w.bin", b"\x80\4\x95ab")
    ),
    "a library": Break("file-pickle", "plain/1/fast.so", written("plain/1/fast.so", b"\x7fELF")),
    "a link out of the repository": Break("file-link", "plain/1/model.onnx", linked("plain/1/model.onnx", None)),
    "a link to a graph": Break("file-link", "plain/1/model.onnx", linked("plain/1/model.onnx", "plain/1/graph")),
    "a file for everybody": Break(
        "file-writable", "plain/1/model.py", lambda folder: (folder / "plain/1/model.py").chmod(0o666)
    ),
    "a folder for everybody": Break("file-writable", "plain/1", lambda folder: (folder / "plain/1").chmod(0o777)),
    "code that unpickles": Break("python-code", "plain/1/model.py:", appended("plain/1/model.py", "\nimport pickle\n")),
    "code in a folder within": Break(
        "python-code",
        "verses/1/generation/cache.py:",
        appended("verses/1/generation/cache.py", "\nos.system('true')\n"),
    ),
    "code that is none": Break("python-code", "plain/1/text.py", appended("plain/1/text.py", "\ndef (\n")),
    "a frontend without a limit of bytes": Break(
        "bounds-limits",
        "plain/1/front.json",
        document("plain/1/front.json", lambda own: own["reader"].pop("max_bytes")),
    ),
    "a frontend without a limit of tokens": Break(
        "bounds-limits", "verses/1/front.json", document("verses/1/front.json", lambda own: own.pop("context"))
    ),
    "a frontend without a limit of pixels": Break(
        "bounds-limits",
        "trt/1/front.json",
        document("trt/1/front.json", lambda own: own["reader"].update(max_pixels=0)),
    ),
    "a limit that clients are told otherwise": Break(
        "bounds-limits", "plain/config", settings("plain", lambda own: own.update(max_bytes=1 << 30))
    ),
    "any number of items": Break(
        "bounds-items", "verses/config", config("verses", lambda own: own.input[0].dims.__setitem__(0, -1))
    ),
    "a small GPU": Break("memory-entry", "trt", lambda folder: None, frozenset({"memory-sum"}), {"gpu_memory": 10**9}),
    "a GPU for two": Break(
        "memory-sum",
        "every GPU",
        document("gpu/1/manifest.json", lambda about: about["serving"]["memory"].update(total=15 * 10**9)),
    ),
    "a release with vulnerabilities": Break(
        "release-cve", "plain", document("plain/1/manifest.json", lambda about: about["graph"].update(release="25.06"))
    ),
    "a version that was being tried": Break(
        "repository-leftover", "_candidate-x", lambda folder: (folder / "_candidate-x").mkdir()
    ),
    "a transaction that was interrupted": Break("repository-leftover", ".switch.json", written(".switch.json", b"{}")),
}
