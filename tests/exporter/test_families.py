"""The tables of families and tasks are complete and agree with each other and with the client."""

from pathlib import Path

import transformers

from hf2triton import families
from hf2triton.families import FAMILIES
from hf2triton.tasks import TASKS
from hf2triton_client.pipelines import BY_NAME, PIPELINES


def test_every_family_file_is_registered():
    """A family that exists is one that can be used."""
    files = {path.stem for path in Path(families.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert files == set(FAMILIES)


def test_every_architecture_exists():
    """The names of architectures are classes of transformers, and their tasks are in the table."""
    for family in FAMILIES.values():
        for architecture, task in family.architectures.items():
            assert getattr(transformers, architecture).config_class.model_type == family.name
            assert task in TASKS


def test_every_task_has_a_client_pipeline():
    """What can be exported can be called, under the same names."""
    assert {cls.task for cls in PIPELINES} == set(TASKS)
    names = {name for task in TASKS.values() for name in (task.name, *task.aliases)}
    assert names == set(BY_NAME)
