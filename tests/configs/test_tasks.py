"""Each task has its own keys and small variants; a key of another task is named as such."""

import sys

import pytest

from configs import default, rows, tasks
from configs.tasks import classification
from inceptionnext_jax.checks import flattened
from inceptionnext_jax.cli.flags import config_from
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.tasks.check import check

COUNTING = """
from ml_collections import ConfigDict
from configs import default

def get_config(arg=""):
    config = default.shared("counting")
    config.head = ConfigDict()
    config.head.channels = 256
    config.checkpoint.best_metric = "eval/error"
    return default.finish(config, arg)

def digits(config):
    config.head.channels = 8

def debug(config):
    config.head.channels = 4
"""


@pytest.fixture
def counting(tmp_path, monkeypatch):
    """A second task, "counting", beside those of `configs/tasks/`."""
    (tmp_path / "counting.py").write_text(COUNTING)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    yield tmp_path / "counting.py"
    sys.modules.pop("configs.tasks.counting", None)


def test_the_shared_keys_are_those_of_every_task(counting):
    shared = set(flattened(default.shared("any")))
    assert shared < set(flattened(classification.get_config()))
    own = set(flattened(default.get_config(task="counting"))) - shared
    assert own == {"head.channels"}


def test_the_small_variants_of_a_task_shrink_its_own_keys(counting):
    config = default.get_config("debug", task="counting")
    assert (config.head.channels, config.batch_size, config.total_steps) == (4, 8, 2)
    assert default.get_config("digits", task="counting").head.channels == 8


def test_a_key_of_another_task_is_refused_with_the_task_that_has_it(counting):
    with pytest.raises(UserError) as error:
        config_from(["--config=configs/tiny.py", "--config.head.channels=3"])
    start, end = str(error.value).split("; ")[:2]
    assert start == "--config.head.channels is not a config key"
    assert sorted(end.removeprefix("it is a key of the task ").split(" and ")) == [
        "counting",
        "detection",
        "segmentation",
    ]
    with pytest.raises(UserError, match="it is a key of the task classification"):
        config_from([f"--config={counting}", "--config.augment.mixup=0.1"])


def test_a_misspelt_key_is_refused_with_its_neighbours(counting):
    with pytest.raises(UserError) as error:
        config_from(["--config=configs/tiny.py", "--config.augment.mixupp=0.1"])
    assert str(error.value).startswith(
        "--config.augment.mixupp is not a config key; did you mean mixup"
    )


def test_the_task_that_a_config_names_checks_it(counting):
    config = default.get_config()
    config.task = "classificaton"
    (problem,) = check(config, devices=1)
    assert problem.startswith("task='classificaton' is not one of ")
    assert "did you mean classification?" in problem


def test_a_task_refuses_a_config_without_its_sections(counting):
    config = default.get_config(task="counting")
    config.task = "classification"
    config.checkpoint.best_metric = "eval/top1"
    assert check(config, devices=1) == [
        f"{section} is unset; give it a value" for section in ("data", "augment", "loss")
    ]


def test_the_modules_of_tasks_are_no_config_files():
    assert not [file for file in rows.files() if "tasks" in file]
