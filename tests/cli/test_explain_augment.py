"""The contact sheet shows the images that the training step computes with."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs.detection import digits as detection_digits
from configs.segmentation import digits as scenes
from inceptionnext_jax.__main__ import main
from inceptionnext_jax.cli import job
from inceptionnext_jax.cli.explain_augment import augmented_rows
from inceptionnext_jax.models import model_info
from inceptionnext_jax.tasks.classification import build, sheet
from inceptionnext_jax.tasks.detection import build as detection
from inceptionnext_jax.tasks.pixels import pixels as pixels_of
from inceptionnext_jax.tasks.segmentation import build as segmentation
from inceptionnext_jax.train.optimizer import make_optimizer
from inceptionnext_jax.train.state import create_state
from inceptionnext_jax.train.step import StepScalars, make_train_step
from inceptionnext_jax.train.task import Aux
from tests.runs import SMALL, small_config

pytestmark = pytest.mark.usefixtures("quick_compilation")
RECIPE = {
    "augment.rand_augment": "rand-m9-n1-mstd0.5-inc1",  # one layer: half the compilation
    "augment.mixup": 0.8,
    "augment.cutmix": 1.0,
    "augment.mix_group_size": 8,
    "augment.random_erasing": 0.5,
}
GROUP, BATCH = 8, 32
FLAGS = ["--config=configs/digits.py", *(f"--config.{k}={v}" for k, v in (SMALL | RECIPE).items())]


@dataclasses.dataclass(frozen=True)
class Witness:
    """A task without a model that returns the step's batch as its metrics."""

    augment: object

    def loss(self, variables, batch, key, positions):
        del key, positions
        zero = (variables["params"]["kernel"] * 0).sum()
        sums = {"loss": (zero, 1.0), **{name: (array, 1.0) for name, array in batch.items()}}
        return zero, Aux(variables["batch_stats"], sums)


def seen_by_the_step(config, step):
    """The augmented batch of update `step`, from the real training step and loader."""
    dataset = build.open_data(config)
    built = build.build(config, dataset)
    plan = job.make_plan(config, dataset, built, 1)
    optimizer = make_optimizer(config.optim, {"kernel": jnp.zeros((2, 2))})
    variables = {"params": {"kernel": jnp.zeros((2, 2))}, "batch_stats": {}}
    state = create_state(variables, optimizer.tx, False)
    state = state.replace(step=jnp.full_like(state.step, step - 1))
    witness = Witness(built.task.augment)
    positions = np.arange(BATCH)
    with job.open_training(config, plan, built.train, positions, step - 1) as batches:
        batch = jax.tree.map(lambda array: array[None], next(batches))
    train_step = jax.jit(make_train_step(witness, optimizer, seed=config.seed, ema_decay=None))
    _, metrics = train_step(state, batch, StepScalars(0.0, {}))
    return {name: np.asarray(array) for name, (array, _) in metrics["mean"].items()}


@pytest.mark.parametrize(
    "order", ["inceptionnext", pytest.param("convnext", marks=pytest.mark.slow)]
)
def test_rows_equal_the_training_steps_batch(order):
    """The sixth row is the second group of the second step; four groups make a batch."""
    config = small_config(**RECIPE, **{"augment.order": order, "seed": 3})
    _, rows = augmented_rows(config, step=7, rows=6, columns=5)
    names = build.open_data(config).class_names
    assert [len(row.batch["image"]) for row in rows] == [5] * 6
    assert rows[1].heading == "step 7 · positions 8–12 of group 8–15"
    assert rows[5].heading == "step 8 · positions 8–12 of group 8–15"
    info = model_info(config.model.name)
    for step, chosen in ((7, rows[:4]), (8, rows[4:])):
        batch = seen_by_the_step(config, step)
        for number, row in enumerate(chosen):
            part = slice(number * GROUP, number * GROUP + 5)
            pixels = np.clip((batch["image"][part] * info.std + info.mean) * 255, 0, 255)
            np.testing.assert_allclose(pixels_of(config, row.batch), pixels, atol=0.51)
            captions = sheet.weights(config, names, row.batch)
            for weights, target, label in zip(
                captions, batch["target"][part], batch["label"][part], strict=True
            ):
                assert str(label) in dict(weights) or min(dict(weights).values()) > 0.99
                assert sum(dict(weights).values()) == pytest.approx(1, abs=0.01)
                for name, share in weights:
                    assert target[int(name)] == pytest.approx(0.9 * share + 0.01, abs=1e-6)


def test_without_mixing_only_shown_images_are_loaded(monkeypatch):
    asked = []
    opened = job.open_training

    def open_training(config, plan, dataset, positions, *steps):
        asked.extend(positions)
        return opened(config, plan, dataset, positions, *steps)

    monkeypatch.setattr(job, "open_training", open_training)
    config = small_config()
    _, rows = augmented_rows(config, step=1, rows=2, columns=3)
    assert asked == [0, 1, 2, 3, 4, 5]
    captions = [sheet.weights(config, tuple("0123456789"), row.batch) for row in rows]
    shares = [share for row in captions for ((_, share),) in row]
    np.testing.assert_allclose(shares, np.ones(6), atol=1e-6)


def test_a_config_for_many_devices_works_on_one():
    config = small_config(**{"mesh.data": 4, "mesh.fsdp": 16})
    (changed,), (plain,) = (
        augmented_rows(given, step=1, rows=1, columns=2)[1] for given in (config, small_config())
    )
    np.testing.assert_array_equal(changed.batch["image"], plain.batch["image"])
    assert config.mesh.fsdp == 16


SCENES = {
    "model.stage_depths": (1, 1, 1, 1),
    "model.depthwise_impl": "conv",
    "augment.photometric": True,
    "augment.hflip": 0.5,
    "augment.ratio": (0.6, 1.25),
    "compilation_cache": SMALL["compilation_cache"],
}


def test_scenes_are_those_of_the_training_step_with_their_labels():
    config = scenes.get_config()
    config.update_from_flattened_dict(SCENES)
    shown, rows = augmented_rows(config, step=3, rows=2, columns=3)
    assert [row.heading for row in rows] == ["step 3 · positions 0–2", "step 3 · positions 3–5"]
    dataset = segmentation.open_data(config)
    built = segmentation.build(config, dataset)
    plan = job.make_plan(config, dataset, built, 1)
    with job.open_training(config, plan, built.train, np.arange(16), 2) as batches:
        batch = next(batches)
    tiles = shown.draw([row.batch for row in rows])
    counts = np.zeros(11, int)
    for number, row in enumerate(rows):
        part = slice(number * 3, number * 3 + 3)
        np.testing.assert_array_equal(row.batch["label"], batch["label"][part])
        for tile, image, label, (height, width) in zip(
            tiles.rows[number],
            batch["image"][part],
            batch["label"][part],
            batch["size"][part],
            strict=True,
        ):
            pixels = np.asarray(tile)[::3, ::3][:96][:height, :width]
            np.testing.assert_array_equal(pixels, image[:height, :width])
            assert (label[height:] == -1).all()
            counts += np.bincount(label[label >= 0], minlength=11)
    assert [entry.name for entry in tiles.legend] == [
        dataset.class_names[k] for k in np.argsort(-counts, kind="stable") if counts[k]
    ]


def test_an_existing_picture_is_replaced(tmp_path, capsys):
    target = tmp_path / "sheet.png"
    target.write_text("old")
    command = ["explain", "augment", *FLAGS, f"--to={target}", "--rows", "2", "--columns=3"]
    assert main([*command, "--config.optim.lr", "0.5"]) == 0
    assert capsys.readouterr().out == f"wrote {target}: 2 rows of 3 images\n"
    with Image.open(target) as picture:
        assert picture.width > 3 * 160
        assert np.asarray(picture).std() > 20
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to={}/none/sheet.png"], "there is no folder"),
        (["--to={}"], "must end in .png"),
        (["--to={}/folder.png"], "is a folder"),
        (["--to={}/x.png", "--config.augment.mixp=1"], "did you mean mixup"),
        (["--to={}/x.png", "--config.data.name=folder"], "needs data.dir"),
        (["--to={}/x.png", "--config.augment.order=timm"], "augment.order='timm'"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, capsys):
    (tmp_path / "folder.png").mkdir()
    arguments = [argument.format(tmp_path) for argument in arguments]
    assert main(["explain", "augment", *FLAGS, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("arguments", [["--rows=0"], ["--step", "x"], ["--workdir=x"], []])
def test_wrong_flags_end_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["explain", "augment", "--config=configs/digits.py", *arguments])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


OBJECTS = {
    "model.stage_depths": (1, 1, 1, 1),
    "model.depthwise_impl": "conv",
    "augment.hflip": 0.5,
    "data.canvases": ((96, 128), (128, 96)),
    "augment.shorts": (80, 96),
    "data.resize": (128, 96),
    "compilation_cache": SMALL["compilation_cache"],
}


def test_objects_are_those_of_the_training_step_over_its_images():
    config = detection_digits.get_config()
    config.update_from_flattened_dict(OBJECTS)
    shown, rows = augmented_rows(config, step=2, rows=3, columns=3)
    assert [row.heading[:6] for row in rows] == ["step 2", "step 2", "step 3"]
    dataset = detection.open_data(config)
    built = detection.build(config, dataset)
    plan = job.make_plan(config, dataset, built, 1)
    tiles = shown.draw([row.batch for row in rows])
    counts = np.zeros(10, int)
    assert len({tile.size for row in tiles.rows for tile in row}) == 1
    for number, (step, part) in enumerate(((1, slice(0, 3)), (1, slice(3, 6)), (2, slice(0, 3)))):
        with job.open_training(config, plan, built.train, np.arange(8), step) as batches:
            batch = {key: array[part] for key, array in next(batches).items()}
        for key in ("size", "boxes", "classes", "valid", "masks"):
            np.testing.assert_array_equal(rows[number].batch[key], batch[key])
        counts += np.bincount(batch["classes"][batch["valid"]], minlength=10)
        for i, tile in enumerate(tiles.rows[number]):
            # Three pixels for one; far from objects the picture is the image.
            height, width = batch["size"][i]
            picture = np.asarray(tile)[: 3 * height : 3, : 3 * width : 3].astype(int)
            image = batch["image"][i, :height, :width].astype(int)
            far = np.ones((height, width), bool)
            for left, top, right, bottom in batch["boxes"][i][batch["valid"][i]].astype(int):
                far[max(top - 9, 0) : bottom + 9, max(left - 3, 0) : right + 9] = False
                edge = picture[top : top + 2, left : right + 1]
                assert (np.abs(edge - image[top : top + 2, left : right + 1]) > 30).any(
                    -1
                ).mean() > 0.3
            assert far.mean() > 0.2
            # Pillow interpolates between the pixels.
            assert np.abs(picture - image)[far].mean() < 12
    assert [entry.name for entry in tiles.legend] == [
        dataset.class_names[k] for k in np.argsort(-counts, kind="stable") if counts[k]
    ]
    assert "pad to 96 × 128, 128 × 96" in shown.recipe[0]
