"""A look at the labels before a run: counts, refusals of what cannot be meant, and the picture."""

import re

import numpy as np
import pytest
from PIL import Image

from configs import digits as images_with_classes
from configs.segmentation import digits, pairs
from inceptionnext_jax.cli.job import run_job
from inceptionnext_jax.data.digit_scenes import TRAIN, scene
from inceptionnext_jax.data.label_map_catalog import open_label_maps
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.tasks.segmentation import build
from tests.ade20k import write_ade20k

SIZE = (12, 16)


def write(root, label_maps, classes="sky\nroad\ntree\n", sizes=None):
    """A folder of pairs, the same for both splits; returns the path."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for number, label_map in enumerate(label_maps):
            height, width = (sizes or {}).get(number, label_map.shape[:2])
            image = rng.integers(0, 256, (height, width, 3), np.uint8)
            for kind, array in (("images", image), ("labels", label_map)):
                path = root / kind / split / f"{number:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    (root / "classes.txt").write_text(classes)
    return root


def maps(*ids, count=6):
    """Label maps that hold all these ids."""
    row = np.resize(np.array(ids, np.uint8), SIZE[1])
    return [np.tile(row, (SIZE[0], 1)) for _ in range(count)]


def inspected(root, thorough=False, **changes):
    config = pairs.get_config()
    config.data.dir = str(root)
    config.update_from_flattened_dict({"batch_size": 2, **changes})
    return build.inspect(config, build.open_data(config), thorough, print)


def test_labels_that_fit_are_counted(tmp_path):
    found = inspected(write(tmp_path, [*maps(0, 1, 255), *maps(1, 1, 1, count=2)]), thorough=True)
    assert not found.problems
    ids = np.concatenate([*maps(0, 1, 255), *maps(1, 1, 1, count=2)])
    share = (ids == 1).sum() / (ids != 255).sum()
    text = "\n".join(found.lines)
    assert "8 of 8 training and 8 of 8 evaluation label maps" in text
    assert f"  road {share:7.2%}, in 100% of the maps" in text
    assert f"  sky  {1 - share:7.2%}, in  75% of the maps" in text
    assert "never seen in the training sample: tree\n" in text
    assert f"without a label: {(ids == 255).mean():.1%} of training pixels" in text
    assert "smallest 16 × 12, median 16 × 12, largest 16 × 12" in text


def test_shares_of_the_scenes_are_those_of_their_pixels():
    config = digits.get_config()
    dataset = open_label_maps("digit_scenes")
    found = build.inspect(config, dataset, True, print)
    chosen = np.linspace(0, 999, 200).round().astype(int).tolist()
    counts = sum(np.bincount(scene(0, TRAIN, i).label_map.ravel(), minlength=11) for i in chosen)
    for name, share in zip(dataset.class_names, counts / counts.sum(), strict=True):
        assert any(line.split()[:2] == [name, f"{share:.2%},"] for line in found.lines)


RED, BLUE = (255, 0, 0), (0, 0, 255)


def colored(*colors):
    return [np.array(colors, np.uint8)[ids] for ids in maps(*range(len(colors)))]


REFUSED = {
    "binary": (
        maps(0, 255), {},
        "all 6 training label maps hold only the ids 0 and 255, as masks of one object often do, "
        r"and 255 means 'no label' \(data.ignore_index\); write two lines into the class list, "
        "'0: background' and '255: object'",
    ),
    "binary_without_ignored": (
        maps(0, 255), {"data.ignore_index": None},
        "hold only the ids 0 and 255, as .*, and 255 is no class's id; write",
    ),
    "shifted_with_zero": (
        maps(0, 1, 2, 3), {},
        "have the ids 0 to 3, one more than the 3 classes: if 0 means 'no label', set data.reduce_",
    ),
    "shifted": (
        maps(1, 2, 3, 255), {},
        "have ids from 1 to 3, but the first of 3 classes has id 0; set data.reduce_zero_label=T",
    ),
    "other_ids": (
        maps(0, 1, 9, 17), {},
        r"have ids that no class has, 9, 17 \(first in .*000.png\), but 3 classes have the ids 0 "
        r"to 2 and 255 \(no label\); correct the class list",
    ),
    "smoothed": (
        [np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE)], {},
        r"no class has, 3 to 191 .*; so many are a sign of edges smoothed",
    ),
    "ignored": (
        maps(255), {},
        "all 6 training label maps hold no label at all: their ids 255 mean 'no label'",
    ),
    "reduced": (
        maps(0, 1), {"data.reduce_zero_label": True},
        r"hold one class, 'sky' \(id 1\), and 0 without a label, so there is nothing to learn; set "
        "data.reduce_zero_label=False",
    ),
    "one_class": (maps(1), {}, r"hold one class, 'road' \(id 1\), so there is nothing to learn"),
    "pictures": (
        colored(RED, BLUE), {},
        "6 of 6 training label maps are RGB pictures, with colours such as 0 0 255, 255 0 0, and "
        "the classes have none; write each class's colour",
    ),
    "grey_pictures": (
        colored((0, 0, 0), (1, 1, 1)), {},
        r"are RGB pictures in grey \(0, 1\), and the classes have no colours; save them as grey",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_in_a_sentence(case, tmp_path):
    label_maps, changes, message = REFUSED[case]
    (problem,) = inspected(write(tmp_path, label_maps), **changes).problems
    assert re.search(message, problem), problem


def test_binary_masks_are_read_once_the_class_list_says_so(tmp_path):
    root = write(tmp_path, maps(0, 255), "0: background\n255: object\n")
    found = inspected(root)
    assert not found.problems
    assert any(line.startswith("  object") for line in found.lines)


def test_colours_without_a_class_are_refused(tmp_path):
    root = write(tmp_path, colored(RED, BLUE), "sky 255 0 0\nroad 0 255 0\n")
    (problem,) = inspected(root).problems
    assert "has the colour 0 0 255, which no class has" in problem


def test_a_rare_object_is_not_taken_for_one_class(tmp_path):
    # The second is not among the first that are looked at.
    label_maps = [*maps(0, count=1), *maps(0, 1, count=1), *maps(0, count=38)]
    assert not inspected(write(tmp_path, label_maps)).problems


def test_label_maps_of_another_size_are_refused_and_turned_images_recognised(tmp_path):
    label_maps = maps(0, 1)
    (problem,) = inspected(write(tmp_path / "one", label_maps, sizes={0: (12, 16)})).problems or [0]
    assert problem == 0
    root = write(tmp_path / "turned", label_maps, sizes={0: (16, 12), 3: (16, 12)})
    problems = inspected(root).problems
    assert len(problems) == 2  # of both splits
    assert "2 of 6 training label maps have another size than their image (first: " in problems[0]
    assert "12 × 16 pixels, its label map 16 × 12); the images seem to be turned" in problems[0]
    root = write(tmp_path / "other", label_maps, sizes={1: (10, 10), 2: (9, 9)})
    assert problems_end(inspected(root)) == "replace or remove these pairs"


def problems_end(found):
    return found.problems[0].split("; ")[-1]


def test_damaged_files_are_counted_but_do_not_stop_a_run(tmp_path):
    root = write(tmp_path, maps(0, 1))
    (root / "labels/train/001.png").write_bytes(b"no picture")
    found = inspected(root)
    assert not found.problems
    assert any("cannot decode the label map of " in line for line in found.lines)


def test_training_refuses_before_it_writes_anything(tmp_path):
    config = pairs.get_config("debug")
    config.data.name, config.data.dir = "pairs", str(write(tmp_path / "data", maps(0, 255)))
    config.model.num_classes = None
    for mode in ("train", "eval"):
        with pytest.raises(UserError, match="hold only the ids 0 and 255"):
            run_job(config, str(tmp_path / "run"), mode, None)
    assert not (tmp_path / "run").exists()


def plan(config, to=None):
    config.compilation_cache = ""
    config.model.stage_depths = (1, 1, 1, 1)
    return run_job(config, None, "plan", None, to)


def test_a_plan_draws_examples_with_their_labels_before_and_after(tmp_path, capsys):
    config = digits.get_config()
    config.augment.hflip, config.augment.ratio = 1.0, (1.0, 1.0)
    picture = tmp_path / "labels.png"
    assert plan(config, str(picture)) == 0
    output = capsys.readouterr().out
    assert "200 of 1,000 training and 50 of 100 evaluation" in output
    assert f"wrote {picture}" in output
    assert "verdict: runs here" in output
    page = np.asarray(Image.open(picture).convert("RGB"))
    # The first example's image is there, enlarged and otherwise unchanged.
    example = scene(0, TRAIN, int(np.linspace(0, 999, 200).round()[0])).image
    height, width = example.shape[:2]
    scale = 256 / max(height, width)
    rows, columns = (
        ((np.arange(round(n * scale)) + 0.5) * n / round(n * scale)).astype(int)
        for n in (height, width)
    )
    where = np.lib.stride_tricks.sliding_window_view(page[:, 26 : 26 + len(columns)], len(rows), 0)
    enlarged = example[rows][:, columns].transpose(1, 2, 0)
    distances = [np.abs(window - enlarged.astype(int)).mean() for window in where[:400]]
    assert min(distances) == 0


def test_the_miniature_ade20k_has_a_plan_and_missing_data_cannot_be_drawn(tmp_path, capsys):
    from configs.segmentation import upernet_inceptionnext_tiny

    config = upernet_inceptionnext_tiny.get_config("debug")
    config.data.name, config.model.num_classes = "ade20k", None
    config.data.dir = str(write_ade20k(tmp_path))
    assert plan(config) == 0
    assert "8 of 8 training and 4 of 4 evaluation" in capsys.readouterr().out
    config.data.dir = str(tmp_path / "nowhere")
    assert plan(config) == 0
    with pytest.raises(UserError, match="nowhere is not a folder; fetch"):
        plan(config, str(tmp_path / "labels.png"))


def test_a_picture_is_of_plans_of_tasks_that_have_one(tmp_path):
    with pytest.raises(UserError, match=r"--to=a\.png belongs to --mode=plan, .* --mode=train"):
        run_job(digits.get_config(), str(tmp_path), "train", None, "a.png")
    with pytest.raises(UserError, match=r"--to=a\.jpg must end in \.png"):
        plan(digits.get_config(), "a.jpg")
    with pytest.raises(UserError, match="task classification has no picture of its data"):
        plan(images_with_classes.get_config(), str(tmp_path / "a.png"))
