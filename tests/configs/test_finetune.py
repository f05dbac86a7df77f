"""Fine-tuning on folders made from the digits: small real runs, and the config itself."""

import csv
import itertools
import json
import re

import numpy as np
import pytest
from PIL import Image

from inceptionnext_jax.cli.job import run_job
from inceptionnext_jax.convert.load import load_weights
from inceptionnext_jax.errors import UserError
from tests.runs import SMALL, metrics, run, saved_arrays

pytestmark = pytest.mark.usefixtures("quick_compilation")
NAMES = ("zero", "one", "two")

TRAINED = 30  # steps after which a run is well above chance, whatever the rounding


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("digits")
    run(workdir, total_steps=10, ema_decay=0.5, **{"optim.lr": 5e-3, "checkpoint.every_steps": 0})
    return workdir


def pictures(split):
    """(number, label, [8, 8] uint8) of the digits that configs/digits.py has in a split."""
    from sklearn.datasets import load_digits

    from inceptionnext_jax.data.digits import split_digits

    digits = load_digits()
    for index in split_digits(digits.target)[int(split == "val")]:
        grey = np.round(digits.images[index] * (255 / 16)).astype(np.uint8)
        yield int(index), int(digits.target[index]), grey


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Zeros, ones and twos: 96 images to train, 60 to evaluate."""
    root = tmp_path_factory.mktemp("folder")
    for split, limit in (("train", 32), ("val", 20)):
        counts = dict.fromkeys(range(10), 0)
        for index, label, grey in pictures(split):
            if label < len(NAMES) and counts[label] < limit:
                counts[label] += 1
                target = root / split / NAMES[label]
                target.mkdir(parents=True, exist_ok=True)
                Image.fromarray(grey).resize((32, 32)).save(target / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Two digits side by side, labelled with both: 128 images to train, 50 to evaluate."""
    root = tmp_path_factory.mktemp("pairs")
    (root / "images").mkdir()
    for split, limit in (("train", 128), ("val", 50)):
        found = [(i, label, grey) for i, label, grey in pictures(split) if label < 4]
        rows = [("file", "labels")]
        for left, right in itertools.pairwise(found[: limit + 1]):
            image = Image.fromarray(np.hstack([left[2], right[2]])).resize((32, 32))
            name = f"images/{left[0]}.png"
            image.save(root / name)
            rows.append((name, f"d{left[1]};d{right[1]}"))
        with (root / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return root


def finetune(workdir, mode="train", variant="", checkpoint=None, **changes):
    """configs/finetune.py on a small model, in this process."""
    from configs import finetune

    config = finetune.get_config(variant)
    small = {key: SMALL[key] for key in SMALL if not key.startswith(("optim", "checkpoint"))}
    config.update_from_flattened_dict(
        {
            **small,
            "model.name": "inceptionnext_atto",
            "model.drop_path_rate": 0.0,
            "data.image_size": 32,
            "data.crop_pct": 1.0,
            "data.workers": 0,
            "checkpoint.every_steps": 0,
            "total_steps": 12,
            **changes,
        }
    )
    return run_job(config, str(workdir), mode, checkpoint)


def test_a_digits_run_is_fine_tuned_on_a_folder_with_fewer_classes(
    digits_run, folder, tmp_path, capsys
):
    first = {
        "data.dir": str(folder),
        "init_from": str(digits_run),
        "optim.freeze": "^(stem|stages_0)/",
    }
    tuned = {"optim.lr": 1e-3, "augment.hflip": 0.0, "total_steps": TRAINED}
    assert finetune(tmp_path / "tuned", **first, **tuned) == 0
    output = capsys.readouterr().out
    assert re.search(r"classes +unset +3", output)
    assert "re-initialised (2): params/head/fc2/bias ([10], expected [3])" in output
    assert "unused" not in output
    # Frozen parameters keep the bits of the loaded averages; the others move.
    _, averages, _ = load_weights(digits_run, "inceptionnext_atto", SMALL["model.stage_depths"])
    after = saved_arrays(tmp_path / "tuned", TRAINED)
    stem = averages["params"]["stem"]["norm"]["scale"]
    np.testing.assert_array_equal(after["params/stem/norm/scale"], stem)
    np.testing.assert_array_equal(
        after["params/stages_0/blocks_0/mlp/fc1/kernel"],
        averages["params"]["stages_0"]["blocks_0"]["mlp"]["fc1"]["kernel"],
    )
    moved = averages["params"]["stages_1"]["blocks_0"]["mlp"]["fc1"]["kernel"]
    assert (after["params/stages_1/blocks_0/mlp/fc1/kernel"] != moved).any()
    # It learns, and its checkpoint has the class names.
    lines = metrics(tmp_path / "tuned")
    assert lines[-1]["eval/count"] == 60
    assert lines[-1]["eval/top1"] > 0.6  # by chance 0.33
    report = json.loads((tmp_path / "tuned/eval.json").read_text())
    assert list(report["eval"]["per_class_accuracy"]) == sorted(NAMES)
    assert load_weights(tmp_path / "tuned", "inceptionnext_atto")[2]["class_names"] == sorted(NAMES)
    with pytest.raises(UserError, match=r"has classes of another kind: 0, 1, 2, 3, 4, … \(10\) th"):
        finetune(tmp_path / "other", "eval", checkpoint=str(digits_run), **first)


def test_several_labels_are_trained_with_bce_and_scored_by_map(digits_run, pairs, tmp_path):
    from sklearn.metrics import average_precision_score

    from inceptionnext_jax.tasks.classification.multilabel import MultiLabel

    seen = {}
    report_of = MultiLabel.report
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MultiLabel, "report", lambda *a: seen.update(kept=a[2]) or report_of(*a))
        changes = {"data.dir": str(pairs), "init_from": str(digits_run), "total_steps": TRAINED}
        finetune(
            tmp_path, variant="multilabel", **changes, **{"augment.hflip": 0.0, "optim.lr": 1e-3}
        )
    (line,) = [line for line in metrics(tmp_path) if "eval/map" in line]
    report = json.loads((tmp_path / "eval.json").read_text())["eval"]
    assert report["count"] == line["eval/count"] == 50
    assert list(report["per_class_ap"]) == ["d0", "d1", "d2", "d3"]
    with (pairs / "val.csv").open() as file:
        truth = [row["labels"].split(";") for row in csv.DictReader(file)]
    wanted = np.array([[name in labels for name in report["per_class_ap"]] for labels in truth])
    labels, shown = (np.stack([kept[key] for kept in seen["kept"]]) for key in ("labels", "scores"))
    np.testing.assert_array_equal(labels, wanted)  # every image in its own row
    scores = [average_precision_score(wanted[:, k], shown[:, k]) for k in range(4)]
    assert list(report["per_class_ap"].values()) == pytest.approx(scores)
    assert report["map"] == line["eval/map"] == pytest.approx(np.mean(scores))
    assert report["map"] > wanted.mean() + 0.05
    losses = [line["train/loss"] for line in metrics(tmp_path)]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_labels_and_config_must_match(folder, pairs, tmp_path):
    with pytest.raises(UserError) as error:
        finetune(tmp_path, **{"data.dir": str(pairs), "model.num_classes": 5})
    assert str(error.value).splitlines() == [
        "loss.name=softmax takes one label an image, and these data have several; "
        "set loss.name=bce",
        "model.num_classes=5, but multi-label data need as many as they have labels; leave it "
        "unset or set it to 4",
        "checkpoint.best_metric=eval/top1 is not measured on images with several labels; set it "
        "to eval/map",
    ]
    with pytest.raises(UserError, match="eval/map is not measured on images with one label"):
        finetune(tmp_path, variant="multilabel", **{"data.dir": str(folder)})


@pytest.mark.parametrize("variant", ["debug", "multilabel,debug"])
def test_debug_variants_plan_without_data(variant, capsys):
    from configs import finetune

    config = finetune.get_config(variant)
    config.data.workers = 0
    assert run_job(config, None, "plan", None) == 0
    assert "verdict: runs here" in capsys.readouterr().out
