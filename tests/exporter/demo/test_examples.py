"""What the demo shows, from a clone and from a wheel."""

from pathlib import Path

import pytest

from hf2triton.checkpoint.source import folder_of
from hf2triton.demo import examples as showcase
from hf2triton.errors import UnknownName, UsageError


def test_a_clone_shows_everything(tmp_path):
    """As the reference repository's file declares it, into the demo's own repository."""
    shows = showcase.shows_of(())
    assert shows == showcase.SHOWS
    declared = showcase.declared(shows, tmp_path)
    assert list(declared.entries) == [show.name for show in shows]
    assert {options.repository for options in declared.entries.values()} == {tmp_path}
    [sentiment] = showcase.shows_of(("text-classification",))
    [options] = showcase.declared([sentiment], tmp_path).entries.values()
    assert (options.source, options.base_name) == (showcase.MINILM, showcase.BASE_NAME)
    assert Path(options.adapter).is_dir()


def test_a_wheel_shows_its_one_model(tmp_path, monkeypatch):
    """Without the project's repository there is MiniLM, which a package ships; other tasks say what they need."""
    monkeypatch.setattr(showcase, "DECLARED", tmp_path / "hf2triton.yaml")
    [minilm] = showcase.shows_of(())
    [options] = showcase.declared([minilm], tmp_path).entries.values()
    assert (minilm.name, options.source, options.repository) == ("minilm", showcase.MINILM, tmp_path)
    assert (folder_of(options.source) / "model.safetensors").is_file()
    with pytest.raises(
        UsageError, match="fill-mask needs the trained checkpoints of the project's repository: clone it"
    ):
        showcase.shows_of(("fill-mask",))
    with pytest.raises(UnknownName, match="task 'fil-mask' is unknown"):
        showcase.shows_of(("fil-mask",))
