"""The tables of families and tasks are complete and agree with each other and with the client."""

from pathlib import Path

import transformers

from hf2triton import families
from hf2triton.families import FAMILIES, Family
from hf2triton.families.base import SAME_HEAD
from hf2triton.tasks import TASKS
from hf2triton.triton_models.preprocessors import PREPROCESSORS
from hf2triton_client.pipelines import BY_NAME, PIPELINES


def test_every_family_file_is_registered():
    """A family that exists is one that can be used."""
    files = {path.stem for path in Path(families.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert files == {name.replace("-", "_") for name in FAMILIES}


def test_every_architecture_exists():
    """The names of architectures are classes of transformers, and their tasks are in the table."""
    for family in FAMILIES.values():
        for architecture in family.architectures:
            assert getattr(transformers, architecture).config_class.model_type == family.name
        assert set(family.tasks) <= set(TASKS)


def test_a_head_serves_all_of_its_tasks():
    """A family names one of them: sequence classification also compares labels and ranks documents."""
    family = Family(
        "new", {}, {"NewForSequenceClassification": ("text-classification",)}, heads={"text-classification": "a"}
    )
    tasks = ("text-classification", "zero-shot-classification", "rerank")
    assert family.architectures == {"NewForSequenceClassification": tasks}
    assert family.heads == dict.fromkeys(tasks, "a")
    assert all(set(one) <= set(TASKS) for one in ([name, *others] for name, others in SAME_HEAD.items()))


def test_every_task_is_served_by_a_family():
    """No task is in the table for nothing."""
    assert {task for family in FAMILIES.values() for task in family.tasks} == set(TASKS)


def test_every_part_can_be_read_and_fed():
    """A part's preprocessor exists, and every family that serves its task has inputs for its modality."""
    for family in FAMILIES.values():
        for endpoint in (endpoint for task in family.tasks for endpoint in TASKS[task].endpoints):
            assert endpoint.preprocessor in PREPROCESSORS
            assert family.inputs[endpoint.modality]


def test_every_task_has_a_client_pipeline():
    """What can be exported can be called, under the same names."""
    assert {cls.task for cls in PIPELINES} == set(TASKS)
    names = {name for task in TASKS.values() for name in (task.name, *task.aliases)}
    assert names == set(BY_NAME)
