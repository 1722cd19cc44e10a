"""Going back to versions, and removing old ones."""

import json

import pytest
from click.testing import CliRunner

from hf2triton.cli import main
from hf2triton.core.layout import versions
from hf2triton.deploy.history import prune, rollback, versions_in
from hf2triton.deploy.transfer import publish_entries
from hf2triton.errors import RepositoryError, UsageError
from hf2triton.repository.folder import Folder
from hf2triton.repository.transaction import JOURNAL, recover

from ...support import snapshot
from ..entries import SHAPES, export, frontends, run_killed, served_sizes


@pytest.fixture
def three(staged, tmp_path):
    """A repository with three versions of an entry of a shape."""

    def make(shape):
        for size in (8, 16, 32):
            export(staged, tmp_path / "models", shape, size)
        return tmp_path / "models"

    return make


@pytest.mark.parametrize("shape", SHAPES)
def test_going_back_serves_the_version_before(three, shape):
    """All frontends go back together, also when one of them is named; the newer version stays."""
    repository = three(shape)
    assert rollback(Folder(repository), frontends(shape)[0]) == (3, 2)
    assert served_sizes(repository) == dict.fromkeys(frontends(shape), (2, 16))
    assert rollback(Folder(repository), shape, 3) == (2, 3)
    assert served_sizes(repository) == dict.fromkeys(frontends(shape), (3, 32))
    assert versions(repository / frontends(shape)[0]) == [1, 2, 3]


def test_versions_that_cannot_be_served_are_refused(three):
    """One that is not there, or whose graph was removed, is told with those that can be served; nothing changes."""
    repository = three("behind")
    before = snapshot(repository)
    with pytest.raises(
        UsageError, match=r"version 1 of 'behind' cannot be served \(its graph is gone.*these can: 2, 3"
    ):
        rollback(Folder(repository), "behind", 1)
    with pytest.raises(UsageError, match="version 9 of 'behind' cannot be served; these can: 2, 3"):
        rollback(Folder(repository), "behind", 9)
    with pytest.raises(RepositoryError, match=r"no entry 'other'.*known: behind"):
        rollback(Folder(repository), "other")
    rollback(Folder(repository), "behind")
    with pytest.raises(RepositoryError, match="no version of 'behind' before 2"):
        rollback(Folder(repository), "behind")
    rollback(Folder(repository), "behind", 3)
    assert snapshot(repository) == before


@pytest.mark.parametrize("shape", SHAPES)
def test_an_export_after_going_back_is_served_whole(staged, three, shape, tmp_path):
    """A new version, exported or published, follows the newest; graphs that somebody went back from make room for it."""
    repository = three(shape)
    rollback(Folder(repository), shape)
    export(staged, repository, shape, 4)
    assert served_sizes(repository) == dict.fromkeys(frontends(shape), (4, 4))
    assert rollback(Folder(repository), shape, 2) == (4, 2)
    export(staged, tmp_path / "source", shape, 2)
    [done] = publish_entries(tmp_path / "source", repository)
    assert (done.version, done.before) == (5, 2)
    assert served_sizes(repository) == dict.fromkeys(frontends(shape), (5, 2))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_served_version_is_never_removed(three, shape):
    """The newest stay, and the served one however old it is; graphs go with their frontends."""
    repository = three(shape)
    rollback(Folder(repository), shape, 2)
    assert prune(Folder(repository), [shape], 1) == dict.fromkeys(frontends(shape), (1,))
    assert versions(repository / frontends(shape)[0]) == [2, 3]
    rollback(Folder(repository), shape, 3)
    assert prune(Folder(repository), [], 1) == dict.fromkeys(sorted(frontends(shape)), (2,))
    assert served_sizes(repository) == dict.fromkeys(frontends(shape), (3, 32))
    if shape == "behind":
        assert versions(repository / "behind_model") == [3]
    with pytest.raises(UsageError, match="at least 1"):
        prune(Folder(repository), [], 0)


def test_what_is_not_there_is_not_made(tmp_path):
    """Looking after a repository that does not exist says so and leaves no folder."""
    with pytest.raises(RepositoryError, match=r"there is no model repository at .*nothing"):
        rollback(Folder(tmp_path / "nothing"), "plain")
    with pytest.raises(RepositoryError, match=r"there is no model repository at .*nothing"):
        prune(Folder(tmp_path / "nothing"), [], 1)
    for command in (["list"], ["rollback", "plain"], ["prune", "--keep", "1"], ["inspect", "plain"], ["tune", "plain"]):
        result = CliRunner().invoke(main, [*command, "--repository", str(tmp_path / "nothing")])
        assert result.exit_code == 1, command
        assert f"there is no model repository at {tmp_path / 'nothing'}" in result.output
        assert "source" not in result.stdout, "no table"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("shape", "file", "change"),
    [
        ("plain", "plain/2/model.py", "was changed"),
        ("plain", "plain/2/model.onnx", "is gone"),
        ("behind", "behind_model/2/model.onnx", "was changed"),
        ("behind", "behind_model/2/model.onnx", "is gone"),
        ("behind", "behind_model/2/config.pbtxt", "was changed"),
        ("pair", "pair_image/2/config.pbtxt", "is gone"),
    ],
)
def test_a_version_that_is_not_what_was_written_is_not_gone_back_to(three, shape, file, change):
    """A file that differs from its manifest's digest is named, with what can be done; nothing is switched."""
    repository = three(shape)
    path = repository / file
    content = path.read_bytes()
    path.unlink()
    if change == "was changed":
        path.write_bytes(content + b"\n")
    before = snapshot(repository)
    with pytest.raises(RepositoryError, match=rf"version 2 of '{shape}' .*: {file} {change}.*publish it again"):
        rollback(Folder(repository), shape)
    assert snapshot(repository) == before
    assert served_sizes(repository) == dict.fromkeys(frontends(shape), (3, 32))


def test_the_commands_say_what_they_did(three, tmp_path):
    """`list --versions`, `publish`, `rollback` and `prune` on the command line, with their exit codes."""
    repository = three("behind")

    def run(*arguments):
        result = CliRunner().invoke(main, [*arguments])
        return result.exit_code, result.stdout.strip()

    code, listed = run("list", "--versions", "--repository", str(repository))
    rows = [line.split() for line in listed.splitlines()[2:]]
    assert (code, [row[:2] for row in rows]) == (0, [["behind", number] for number in "321"])
    assert ["served" in row for row in rows] == [True, False, False]
    assert "its graph is gone from behind_model" in listed
    assert len(run("list", "--repository", str(repository))[1].splitlines()) == 3
    assert run("publish", str(repository), str(tmp_path / "dest")) == (0, "behind: version 3 published")
    assert run("rollback", "behind", "--repository", str(repository)) == (
        0,
        "behind: version 2 is served, in place of 3",
    )
    assert run("publish", str(repository), str(tmp_path / "dest")) == (0, "behind: version 4 published, in place of 3")
    assert run("rollback", "behind", "2", "--repository", str(repository)) == (0, "behind: version 2 is served already")
    assert versions(repository / "behind_model") == [2, 3], "nothing was superseded"
    with (tmp_path / "dest" / "behind" / "config.pbtxt").open("a") as config:
        config.write("frobnicate: 3\n")
    assert run("publish", str(repository), str(tmp_path / "dest")) == (
        0,
        "behind: version 4 is there; its config is put back",
    )
    assert run("rollback", "behind", "9", "--repository", str(repository))[0] == 2
    assert run("prune", "--keep", "1", "--repository", str(repository)) == (0, "behind: removed 1")
    assert run("rollback", "behind", "--repository", str(repository))[0] == 1
    assert [one.number for one in versions_in(Folder(repository))] == [3, 2]


@pytest.mark.parametrize(
    ("what", "shape", "how"),
    [
        ("rollback", "behind", "killed"),
        ("prune", "behind", "killed"),
        pytest.param("rollback", "pair", "killed", marks=pytest.mark.slow),
        pytest.param("prune", "pair", "killed", marks=pytest.mark.slow),
        pytest.param("rollback", "behind", "failed", marks=pytest.mark.slow),
        pytest.param("prune", "behind", "failed", marks=pytest.mark.slow),
    ],
)
def test_every_step_survives(sources, what, shape, how, tmp_path):
    """Killed with SIGKILL, or failing for want of space, at each step in turn: each frontend serves a version that is whole, and
    doing it again has the same end as if nothing had happened. An error leaves what is served as it was."""
    one, other = sources[shape]
    for source in (one, other):
        list(publish_entries(source, tmp_path / "dest"))
    before = snapshot(tmp_path / "dest")
    seen = run_killed(how, what, other, tmp_path / "dest", tmp_path)
    assert len(seen) > 5
    old = {key: [2, 16] for key in frontends(shape)}
    new = {key: [1, 32] for key in frontends(shape)} if what == "rollback" else old
    for step in seen[:-1]:
        for frontend, served in step["served"].items():
            assert served in (old[frontend], new[frontend])
        if how == "failed" and what == "rollback":
            assert step["served"] == new or step["files"] == before, "an error leaves all as it was"
        assert step["again"] == new
        assert step["left"] == []
        assert step["files_again"] == seen[-1]["files"]
    assert seen[0]["served"] == old
    assert seen[-1]["served"] == new
    assert (tmp_path / "dest").exists()


def test_a_journal_of_an_earlier_version_is_understood(sources, tmp_path):
    """It called frontends fronts, and knew neither shared files nor versions that are removed: its transaction is completed."""
    for source in sources["plain"]:
        list(publish_entries(source, tmp_path))
    configs = {number: (tmp_path / "plain" / str(number) / "config.pbtxt").read_text() for number in (1, 2)}
    written = {
        "entry": "plain",
        "version": 1,
        "fronts": ["plain"],
        "configs": {"plain": configs[1]},
        "before": {"plain": configs[2]},
        "added": False,
        "back": False,
    }
    (tmp_path / JOURNAL).write_text(json.dumps(written))
    with Folder(tmp_path).locked():
        recover(Folder(tmp_path))
    assert served_sizes(tmp_path) == {"plain": (1, 32)}
    assert not (tmp_path / JOURNAL).exists()
    (tmp_path / JOURNAL).write_text(json.dumps({**written, "back": True}))
    assert prune(Folder(tmp_path), [], 2) == {"plain": ()}
    assert served_sizes(tmp_path) == {"plain": (2, 16)}


@pytest.mark.parametrize("content", ["", "[]", '{"entry": 3}'])
def test_a_journal_that_cannot_be_read_is_named(sources, content, tmp_path):
    """Nothing is changed; the error says what to do."""
    list(publish_entries(sources["plain"][0], tmp_path))
    (tmp_path / JOURNAL).write_text(content)
    before = snapshot(tmp_path)
    with pytest.raises(
        RepositoryError, match=f"{tmp_path / JOURNAL}, the journal .* cannot be read: .* remove the file"
    ):
        prune(Folder(tmp_path), [], 1)
    assert snapshot(tmp_path) == before


def test_a_manifest_that_is_damaged_is_named(three):
    """Neither the list nor a rollback goes on without knowing what a version is."""
    repository = three("plain")
    path = repository / "plain" / "2" / "manifest.json"
    path.write_text("{")
    for what in (lambda: versions_in(Folder(repository)), lambda: rollback(Folder(repository), "plain")):
        with pytest.raises(RepositoryError, match=f"{path} cannot be read"):
            what()
