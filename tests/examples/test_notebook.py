"""The notebook runs from top to bottom, and is stored without outputs."""

from __future__ import annotations

import nbformat
from nbclient import NotebookClient

from hf2triton_client import pipeline

from ..conftest import entry_name
from .running import EXAMPLES, SECONDS

MODELS = {
    "SENTIMENT_MODEL": entry_name("bert", "text-classification", "fp16"),
    "EMBEDDINGS_MODEL": entry_name("bert", "sentence-similarity", "fp16"),
    "VERSES_MODEL": entry_name("gpt2", "text-generation", "fp16"),
}


def rows_of(cell) -> list[list[str]]:
    """The rows of the Markdown table that a cell shows, without its head."""
    [output] = cell.outputs
    lines = output.data["text/markdown"].splitlines()[2:]
    return [[part.strip() for part in line.strip("|").split("|")] for line in lines]


def test_it_shows_the_answers_of_the_models(server, tmp_path, monkeypatch):
    """Its tables hold what the pipelines give."""
    for name, value in {"TRITON_URL": server.url, **MODELS}.items():
        monkeypatch.setenv(name, value)
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    NotebookClient(notebook, timeout=SECONDS).execute(cwd=str(tmp_path))
    _, labels, similarities, texts, likely, _ = code

    with pipeline("text-classification", model=MODELS["SENTIMENT_MODEL"], url=server.url) as classify:
        for text, label, score, tokens in rows_of(labels):
            result = classify(text)
            assert (label, tokens) == (result[0]["label"], str(result.metadata[0].num_tokens))
            assert abs(float(score) - result[0]["score"]) < 2e-3
    matrix = [[float(value) for value in row[1:]] for row in rows_of(similarities)]
    assert [matrix[index][index] for index in range(3)] == [1.0, 1.0, 1.0]
    assert matrix == [list(column) for column in zip(*matrix, strict=True)]
    with pipeline("text-generation", model=MODELS["VERSES_MODEL"], url=server.url) as write:
        options = {"max_new_tokens": 20, "do_sample": False, "return_full_text": False}
        [greedy] = write("In the beginning", **options)
    assert rows_of(texts)[0] == ["greedy", " ".join(greedy["generated_text"].split())]
    assert len({text for _, text in rows_of(texts)}) == 3
    assert rows_of(likely)[0][0] == "greedy"
    assert all(float(value) < 0 for _, value in rows_of(likely))
