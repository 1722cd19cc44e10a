"""`hf2triton infer NAME -`: a line in, a line out."""

import json
import os
import subprocess
import sys

import pytest

from ...conftest import asset


def start(*words, **pipes):
    command = [sys.executable, "-m", "hf2triton", "infer", *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **pipes)


def ask(name, url, lines, *options):
    """The exit code, the answers and the last line of stderr."""
    given = lines if isinstance(lines, bytes) else "".join(f"{line}\n" for line in lines).encode()
    with start(name, "-", "--url", url, *options) as process:
        stdout, stderr = process.communicate(given, timeout=60)
    assert b"Traceback" not in stderr
    answers = [json.loads(line) for line in stdout.decode().splitlines()]
    return process.returncode, answers, (stderr.decode().splitlines() or [""])[-1]


def answer(name, url, *words):
    """What the command answers without lines."""
    with start(name, *words, "--url", url) as process:
        return json.loads(process.communicate(timeout=60)[0])


def test_each_line_is_answered_in_order(url):
    """Thousands, in the order of the lines, as the same texts on the command line are; the last may lack its end."""
    texts = [
        f"It was {word}, number {number}." for number in range(500) for word in ("wonderful", "terrible", "a chair")
    ]
    code, answers, _ = ask("sentiment", url, "\n".join(texts).encode())
    assert (code, len(answers)) == (0, len(texts))
    for place in (0, 1, 700, len(texts) - 1):
        [expected] = answer("sentiment", url, texts[place])
        assert answers[place]["label"] == expected["label"]
        assert answers[place]["score"] == pytest.approx(expected["score"], abs=1e-4)


def test_answers_come_as_lines_do(url):
    """A line is answered while stdin stays open: the next is only written when the answer has been read."""
    with start("sentiment", "-", "--url", url) as process:
        for text in ("wonderful", "terrible", "ok"):
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            assert set(json.loads(process.stdout.readline())) == {"label", "score"}
        process.stdin.close()
        assert process.wait(60) == 0


def test_bad_lines_have_an_error(url):
    """The other lines are answered, an empty one as an empty text; the exit code is 1, and stderr counts."""
    lines = b'fine\n\n\xff\xfe\n{"text": "two\\nlines"}\n{"nope": 1}\n{"text": 3}\n{not json\r\n'
    code, answers, last = ask("sentiment", url, lines)
    assert [next(iter(one)) for one in answers] == ["label", "label", "error", "label", "error", "error", "label"]
    assert "UTF-8" in answers[2]["error"]
    assert answers[4]["error"] == "it has no text"
    assert (code, last) == (1, "hf2triton: 3 of 7 lines have no answer")


def test_input_that_cannot_be_read_ends_the_command(url, tmp_path):
    """A file that is open for writing alone, say."""
    written = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    command = [sys.executable, "-m", "hf2triton", "infer", "sentiment", "-", "--url", url]
    try:
        done = subprocess.run(command, stdin=written, capture_output=True, text=True, timeout=60)
    finally:
        os.close(written)
    assert done.returncode == 2
    assert done.stderr == "hf2triton: standard input cannot be read: Bad file descriptor\n"


def test_questions_have_their_contexts(url):
    """Separated by a tab, or as an object; what is not a pair is a bad line."""
    pair = ["Where was she born?", "She was born in Madrid."]
    code, answers, _ = ask(
        "answers", url, ["\t".join(pair), json.dumps(dict(zip(("question", "context"), pair, strict=True)))]
    )
    assert code == 0
    assert answers[0] == answers[1]
    assert answers[0]["answer"] == answer("answers", url, *pair)["answer"]
    code, answers, _ = ask("answers", url, ["no context", "\t".join(pair * 2), "\t".join(pair)])
    assert (code, ["error" in one for one in answers]) == (1, [True, True, False])


def test_sentences_are_compared(url):
    """The first with the others on the line, which has two at least."""
    code, answers, _ = ask(
        "similar", url, ["a cat\ta dog\ta cat", '{"source_sentence": "a", "sentences": ["b"]}', "alone"]
    )
    assert (code, [len(one) for one in answers[:2]]) == (1, [2, 1])
    assert answers[0] == pytest.approx(answer("similar", url, "a cat", "a dog", "a cat"), abs=1e-4)
    assert "sentences" in answers[2]["error"]


def test_texts_are_generated(url):
    """Whole texts, with options; tabs belong to the prompt."""
    options = ("--option", "max_new_tokens=4", "--option", "do_sample=false")
    code, answers, _ = ask("verses", url, ["And the king", "a\tb"], *options)
    assert (code, [list(one[0]) for one in answers]) == (0, [["generated_text"]] * 2)
    expected = answer("verses", url, "And the king", *options)
    assert [answers[0]] == expected


def test_images_are_read_from_paths(url):
    """A path a line; one that does not exist is a bad line."""
    images = sorted((asset("vit", "image-classification") / "sample").glob("*.png"))[:2]
    code, answers, _ = ask("clothes", url, [*images, "/nowhere.png"], "--option", "top_k=1")
    assert code == 1
    assert [len(one) for one in answers[:2]] == [1, 1]
    assert "there is no file" in answers[2]["error"]


def test_a_reader_that_leaves_ends_it_quietly(url):
    """`| head -1`: no traceback, however many lines are left."""
    command = f"yes 'What a day' | {sys.executable} -m hf2triton infer sentiment - --url {url} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")


def test_nothing_in_is_nothing_out(url):
    """An empty stdin is no error."""
    assert ask("sentiment", url, b"") == (0, [], "")


def test_a_wrong_option_is_named_once(url):
    """Before a line is read: wrong usage, with the options of the task."""
    code, answers, last = ask("sentiment", url, ["a", "b"], "--option", "topk=1")
    assert (code, answers) == (2, [])
    assert "takes no topk; it takes" in last
