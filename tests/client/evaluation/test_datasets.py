"""Labelled files become questions in the form of their task; what cannot be read is named with its file and row."""

import json

import pytest

from hf2triton_client import InputError
from hf2triton_client.evaluation.datasets import read_questions

CONTEXT = {"question": "Who?", "context": "Ann, of Rome."}
#: Task, a row, the names that its columns may have instead, the input that a pipeline is called with, the label.
FORMS = [
    ("text-classification", {"text": "a", "label": "P"}, {"text": "sentence review content"}, "a", "P"),
    (
        "text-classification",
        {"text": "a", "text_pair": "b", "label": 1},
        {"text": "sentence1 premise", "text_pair": "sentence2 hypothesis", "label": "labels class category"},
        {"text": "a", "text_pair": "b"},
        1,
    ),
    ("zero-shot-classification", {"text": "a", "label": 3}, {"label": "class"}, "a", "3"),
    (
        "token-classification",
        {"words": ["An", "n"], "label": ["B", 0]},
        {"words": "tokens", "label": "tags ner_tags labels"},
        "An n",
        ["B", 0],
    ),
    ("question-answering", {**CONTEXT, "label": "Ann"}, {"label": "answers answer"}, CONTEXT, ["Ann"]),
    ("fill-mask", {"text": "[MASK]", "label": 7}, {"label": "token target"}, "[MASK]", "7"),
    (
        "sentence-similarity",
        {"text": "a", "text_pair": "b", "label": "2.5"},
        {"label": "score similarity"},
        {"source_sentence": "a", "sentences": ["b"]},
        2.5,
    ),
    (
        "rerank",
        {"query": "a", "documents": ["b", "c"], "label": [0, 2]},
        {"query": "question anchor", "documents": "passages", "label": "relevance labels"},
        {"query": "a", "documents": ["b", "c"]},
        [0.0, 2.0],
    ),
    (
        "rerank",
        {"query": "a", "positive": "b", "negative": ["c", "d"]},
        {},
        {"query": "a", "documents": ["b", "c", "d"]},
        [1.0, 0.0, 0.0],
    ),
    ("rerank", {"query": "a", "documents": "b"}, {}, {"query": "a", "documents": ["b"]}, None),
    ("text-generation", {"text": "a"}, {"text": "content"}, "a", None),
]


def written(path, rows):
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(("task", "row", "aliases", "given", "label"), FORMS)
def test_rows_have_the_form_of_their_task(tmp_path, task, row, aliases, given, label):
    """Under each name that data sets use, columns become what the pipeline is called with, and what would be right."""
    files = [row]
    for name, others in aliases.items():
        files += [
            {other if column == name else column: value for column, value in row.items()} for other in others.split()
        ]
    for number, renamed in enumerate(files):
        asked = read_questions(written(tmp_path / f"{number}.jsonl", [renamed]), task)
        assert asked.inputs == (given,)
        assert asked.labels == (() if label is None else (label,))


@pytest.mark.parametrize(
    ("task", "options", "method"),
    [
        ("text-classification", {"top_k": None}, ""),
        ("token-classification", {"aggregation_strategy": "first"}, ""),
        ("question-answering", {"handle_impossible_answer": True}, ""),
        ("text-generation", {}, "logprobs"),
    ],
)
def test_calls_are_made_as_the_task_needs(tmp_path, task, options, method):
    """All labels of a text, words as they are given, no answer where there is none, and texts that are scored."""
    row = {"text": "a", "words": ["a"], **CONTEXT}
    asked = read_questions(written(tmp_path / "x.jsonl", [row]), task)
    assert (asked.options, asked.method, asked.labels) == (options, method, ())


@pytest.mark.parametrize("named", [["x", "y"], "x, y"])
def test_zero_shot_rows_may_name_their_candidates(tmp_path, named):
    """In a list or with commas; others choose among all labels that occur."""
    rows = [{"text": "a", "label": "y", "labels": named}, {"text": "b", "label": "z"}, {"text": "c", "label": "y"}]
    asked = read_questions(written(tmp_path / "x.jsonl", rows), "zero-shot-classification")
    assert [own["candidate_labels"] for own in asked.each] == [["x", "y"], ["y", "z"], ["y", "z"]]
    assert asked.labels == ("y", "z", "y")


def test_columns_may_have_names_of_their_own(tmp_path):
    """What the caller says goes before the usual names."""
    path = written(tmp_path / "x.jsonl", [{"body": "a", "text": "no", "stars": 1, "label": 0}])
    asked = read_questions(path, "text-classification", {"text": "body", "label": "stars"})
    assert (asked.inputs, asked.labels) == (("a",), (1,))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("x", ["x"]),
        (["x", "y"], ["x", "y"]),
        ({"text": ["x", "y"], "answer_start": [0, 1]}, ["x", "y"]),
        ([{"text": "x", "answer_start": 0}], ["x"]),
        (1912, ["1912"]),
        ("", []),
        ([], []),
        ({"text": [], "answer_start": []}, []),
    ],
)
def test_right_answers_have_several_forms(tmp_path, given, expected):
    """A text, a list, SQuAD's columns and SQuAD's objects; none where the question cannot be answered."""
    path = written(tmp_path / "x.jsonl", [{**CONTEXT, "answers": given}])
    assert read_questions(path, "question-answering").labels == (expected,)


def test_a_csv_is_read_as_it_was_quoted(tmp_path):
    """Quotes, commas, ends of lines of all kinds within a cell, and a byte order mark."""
    path = tmp_path / "x.CSV"
    path.write_bytes('\ufefftext,label\r\n"a ""b"", c\nd\r\ne",0\r\n\r\nf\u2028g\u0085h,1\r\n"[1]",1\r\n'.encode())
    asked = read_questions(path, "text-classification")
    assert asked.inputs == ('a "b", c\nd\r\ne', "f\u2028g\u0085h", "[1]")
    assert asked.labels == ("0", "1", "1")


def test_cells_of_a_csv_may_be_json(tmp_path):
    """Words, tags and several answers; a text that only looks so stays one."""
    path = tmp_path / "x.csv"
    path.write_text('tokens,ner_tags\n"[""a"", ""b""]","[""O"", 1]"\n')
    asked = read_questions(path, "token-classification")
    assert (asked.inputs, asked.labels) == (("a b",), (["O", 1],))
    path.write_text('question,context,answers\nq,[c,"{""text"": [""x"", ""y""]}"\nq,c,[x\nq,c,\n')
    asked = read_questions(path, "question-answering")
    assert asked.inputs[0]["context"] == "[c"
    assert asked.labels == (["x", "y"], ["[x"], [])


@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_json_may_hold_any_character(tmp_path, ending):
    """Line separators within strings end no line; blank lines and the ends of lines of Windows are no rows."""
    text = "a\u2028b\u0085cd 😀"
    rows = [json.dumps({"text": one, "label": "x"}, ensure_ascii=False) for one in (text, "b")]
    path = tmp_path / f"x{ending}"
    joined = "\ufeff" + ("\r\n\r\n".join(rows) + "\r\n" if ending == ".jsonl" else f"[{', '.join(rows)}]")
    path.write_bytes(joined.encode())
    assert read_questions(path, "text-classification").inputs == (text, "b")


def test_a_folder_of_images_has_its_labels_as_folders(tmp_path):
    """In the order of their names; hidden files, and others than images, are left out."""
    for name in ("b/2.PNG", "a/1.jpg", "b/deep/3.webp", "b/.hidden.png", ".cache/4.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    asked = read_questions(tmp_path, "image-classification")
    assert asked.inputs == tuple(str(tmp_path / name) for name in ("a/1.jpg", "b/2.PNG", "b/deep/3.webp"))
    assert asked.labels == ("a", "b", "b")
    each = read_questions(tmp_path, "zero-shot-image-classification").each
    assert each == ({"candidate_labels": ["a", "b"]},) * 3


def test_images_lie_beside_the_file_that_names_them(tmp_path):
    """Paths are relative to it."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/1.png").touch()
    path = written(tmp_path / "x.jsonl", [{"file_name": "pictures/1.png", "label": 9}])
    asked = read_questions(path, "image-classification")
    assert (asked.inputs, asked.labels) == ((str(tmp_path / "pictures/1.png"),), (9,))


@pytest.mark.parametrize("task", ["text-classification", "fill-mask", "sentence-similarity", "token-classification"])
def test_an_empty_label_is_none(tmp_path, task):
    """Of a CSV, whose cells cannot be absent."""
    path = tmp_path / "x.csv"
    path.write_text('text,text_pair,words,label\na,b,"[""a""]",\n')
    assert read_questions(path, task).labels == ()


def test_labels_count_wherever_they_begin(tmp_path):
    """Columns are those of all rows; where some have a label and some do not, the first without one is named."""
    path = written(tmp_path / "x.jsonl", [{"text": "a"}, {"text": "b", "label": "x"}])
    with pytest.raises(InputError, match=r"row 0 of .*x\.jsonl has no label, as 1 of 2 rows have none"):
        read_questions(path, "text-classification")


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("text-classification", {"text": 5}, "text should be a string, not 5"),
        ("text-classification", {"text": None}, "it has no text"),
        ("text-classification", {"review": None, "text": None}, "it has no text"),
        ("text-classification", {"text": "a", "label": ["x"]}, r"should be one label, .* not \['x'\]"),
        ("text-classification", {"text": "a", "label": 0.5}, "should be one label, .* not 0.5"),
        ("text-classification", {"text": "a", "text_pair": None}, "it has no text_pair"),
        (
            "zero-shot-classification",
            {"text": "a", "label": "q", "labels": ["x"]},
            "'q' is not one of its candidate_labels",
        ),
        ("token-classification", {"words": "a b"}, "words should be a list of strings, not 'a b'"),
        ("token-classification", {"words": [1]}, r"words should be a list of strings, not \[1\]"),
        ("token-classification", {"words": ["a b"]}, "the word 'a b' has a space in it"),
        ("token-classification", {"words": ["a", "b"], "labels": ["O"]}, "it has 2 words and 1 labels"),
        ("token-classification", {"words": ["a"], "labels": "O"}, "a list with a label for each word, not 'O'"),
        ("token-classification", {"words": ["a"], "labels": [None]}, "names or numbers"),
        ("question-answering", {**CONTEXT, "answers": [["x"]]}, r"an answer should be a string, not \['x'\]"),
        ("question-answering", {**CONTEXT, "context": ""}, "it has no context"),
        ("sentence-similarity", {"text": "a", "text_pair": "b", "score": "much"}, "a number .* not 'much'"),
        ("sentence-similarity", {"text": "a", "text_pair": "b", "score": "nan"}, "a number .* not 'nan'"),
        ("image-classification", {"image": "none.png"}, "there is no file .*none.png"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path, task, row, message):
    """By its file and its number, with what it has and what it should have."""
    (tmp_path / "1.png").touch()
    good = {"text": "a", "text_pair": "b", "words": ["a"], **CONTEXT, "image": "1.png"}
    asks_pair = task == "sentence-similarity" or "text_pair" in row
    good = {name: value for name, value in good.items() if name != "text_pair" or asks_pair}
    label = {name: value for name, value in row.items() if name in ("label", "labels", "score")}
    good |= {name: {"q": "x"}.get(value, value) if isinstance(value, str) else value for name, value in label.items()}
    path = written(tmp_path / "rows.jsonl", [row])
    with pytest.raises(InputError, match=rf"row 0 of .*rows\.jsonl: .*{message}"):
        read_questions(path, task)
    if not label:
        path = written(tmp_path / "rows.jsonl", [good, good, row])
        with pytest.raises(InputError, match=rf"row 2 of .*rows\.jsonl: .*{message}"):
            read_questions(path, task)


def test_zero_shot_needs_something_to_choose_among(tmp_path):
    """Rows without labels and without candidates are refused."""
    path = written(tmp_path / "x.jsonl", [{"text": "a", "labels": ["x"]}, {"text": "b"}])
    with pytest.raises(InputError, match=r"row 1 of .*nothing to choose among"):
        read_questions(path, "zero-shot-classification")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", '{"text": "a"}\n{"text"\n', r"x\.jsonl cannot be read as jsonl: line 2: "),
        ("x.jsonl", '{"text": "a"}\n\n["b"]\n', r"row 1 of .*x\.jsonl should have named columns, and is a list"),
        ("x.jsonl", "\n", r"x\.jsonl holds no rows"),
        ("x.json", '{"data": []}', r"x\.json should hold a list of rows with named columns, not an object"),
        ("x.json", "[", r"x\.json cannot be read as json: .*line 1"),
        ("x.csv", "text,label\na,b,c\n", r"x\.csv cannot be read as csv: line 2: more cells than columns \(2\)"),
        ("x.csv", 'text,label\na,b\n"a"b,c\n', r"x\.csv cannot be read as csv: line 3: "),
        ("x.csv", 'text,label\n"a', r"x\.csv cannot be read as csv: "),
        ("x.csv", "text,label\n", r"x\.csv holds no rows"),
        ("x.csv", "text\na\n", r"x\.csv has no column stars; it has text"),
        ("x.csv", "words,stars\na,1\n", r"x\.csv has no column text or sentence or .*; it has words, stars"),
        ("x.txt", "a", r"x\.txt is read by its ending, which can be \.jsonl, \.json, \.csv"),
        ("x.csv", b"text,stars\n\xff,1\n", r"x\.csv cannot be read: .*utf-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, message):
    """With the line, where there is one, and what it should have been."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        read_questions(path, "text-classification", {"label": "stars"})


def test_what_is_not_there_is_named(tmp_path):
    """Files, images of a folder, columns of a task, and tasks without labelled data."""
    with pytest.raises(InputError, match=r"there is no file or folder .*gone"):
        read_questions(tmp_path / "gone", "fill-mask")
    with pytest.raises(InputError, match="holds no images"):
        read_questions(tmp_path, "image-classification")
    with pytest.raises(InputError, match="fill-mask has no column words; it has text, label"):
        read_questions(tmp_path, "fill-mask", {"words": "x"})
    with pytest.raises(InputError, match="no labelled data are read for feature-extraction; known are fill-mask, "):
        read_questions(tmp_path, "feature-extraction")
