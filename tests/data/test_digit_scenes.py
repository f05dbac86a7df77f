import hashlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits, load_sample_images

from inceptionnext_jax.data import digit_scenes
from inceptionnext_jax.data.digit_scenes import HELD_OUT, TRAIN, scene
from inceptionnext_jax.data.digits import split_digits
from inceptionnext_jax.data.label_map_catalog import open_label_maps

COUNT = 100


@pytest.fixture(scope="module")
def scenes():
    return [scene(0, split, i) for split in (TRAIN, HELD_OUT) for i in range(COUNT)]


def test_annotations_of_a_scene_agree_with_each_other(scenes):
    for made in scenes:
        height, width = made.label_map.shape
        count = len(made.digits)
        assert 1 <= count <= 4
        assert made.image.shape == (height, width, 3)
        assert made.image.dtype == np.uint8
        assert made.label_map.dtype == np.int16
        assert made.masks.shape == (count, height, width)
        assert made.masks.sum(0).max() == 1  # no pixel shows two digits
        painted = (made.masks * (made.digits[:, None, None] + 1)).sum(0)
        np.testing.assert_array_equal(made.label_map, painted)
        found = [ndimage.find_objects(mask)[0] for mask in made.masks.astype(int)]
        boxes = [(x.start, y.start, x.stop, y.stop) for y, x in found]
        np.testing.assert_array_equal(made.boxes, np.array(boxes, np.float32))
        assert made.boxes.dtype == np.float32
        sides = made.boxes[:, 2:] - made.boxes[:, :2]
        assert sides.max() <= 60  # 52 pixels high and 115 % of that wide
        assert sides.max(1).min() >= 12


def test_scenes_vary_in_size_and_number_of_digits_and_show_every_class(scenes):
    sizes = {made.label_map.shape for made in scenes}
    assert len(sizes) > 15
    assert {side for size in sizes for side in size} == {96, 104, 112, 120, 128}
    assert {len(made.digits) for made in scenes} == {1, 2, 3, 4}
    assert set(np.concatenate([made.digits for made in scenes])) == set(range(10))


def test_a_digit_hides_at_most_a_fifth_of_another(monkeypatch):
    shapes = []
    real = digit_scenes._free_place

    def recorded(draw, owner, shape, areas):
        window = real(draw, owner, shape, areas)
        if window is not None:
            shapes.append(int(shape.sum()))
        return window

    monkeypatch.setattr(digit_scenes, "_free_place", recorded)
    hidden = []
    for index in range(COUNT):
        shapes.clear()
        made = scene(0, TRAIN, index)
        hidden += (1 - made.masks.sum((1, 2)) / np.array(shapes)).tolist()
    assert 0.05 < max(hidden) <= 0.2


def test_digits_stand_out_from_what_is_around_them(scenes):
    contrasts = []
    for made in scenes:
        for mask in made.masks:
            inside = ndimage.binary_erosion(mask)
            ring = ndimage.binary_dilation(mask, iterations=3) & (made.label_map == 0)
            if inside.sum() > 5 and ring.sum() > 20:
                difference = made.image[inside].mean(0) - made.image[ring].mean(0)
                contrasts.append(np.linalg.norm(difference))
    assert np.quantile(contrasts, 0.02) > 40


def test_each_class_has_a_sector_of_hues(scenes):
    hues = {}
    for made in scenes:
        hsv = np.asarray(Image.fromarray(made.image).convert("HSV"))
        for digit, mask in zip(made.digits.tolist(), made.masks, strict=True):
            hue = float(np.median(hsv[..., 0][ndimage.binary_erosion(mask)])) * 360 / 255
            hues.setdefault(digit, []).append((hue - 36 * digit + 180) % 360 - 180)
    assert all(np.abs(found).max() < 18 for found in hues.values())


def test_held_out_scenes_share_no_digit_and_no_pixel_of_a_photograph(monkeypatch):
    """Each number and each photograph's column is marked, so that scenes show what they use."""
    opacity, classes, splits, _ = digit_scenes._pixels()
    np.testing.assert_array_equal(splits[TRAIN], split_digits(load_digits().target)[0])
    assert not set(splits[TRAIN]) & set(splits[HELD_OUT])
    numbers = np.arange(len(classes))
    columns = np.arange(640)
    marked = np.stack([columns // 256, columns % 256, 0 * columns], -1).astype(np.uint8)
    marked = np.broadcast_to(marked, (427, 640, 3))
    table = (opacity, numbers, splits, (marked, marked))
    monkeypatch.setattr(digit_scenes, "_pixels", lambda: table)
    monkeypatch.setattr(digit_scenes, "_paint", lambda *_: None)
    used = []
    for split in (TRAIN, HELD_OUT):
        made = [scene(0, split, index) for index in range(COUNT)]
        digits = set(np.concatenate([one.digits for one in made]).tolist())
        image = np.concatenate([one.image.reshape(-1, 3) for one in made]).astype(int)
        used.append((digits, set((image[:, 0] * 256 + image[:, 1]).tolist())))
    (train_digits, train_columns), (held_out_digits, held_out_columns) = used
    assert train_digits <= set(splits[TRAIN])
    assert held_out_digits <= set(splits[HELD_OUT])
    assert not train_columns & held_out_columns
    assert train_columns | held_out_columns == set(range(640))


def test_background_is_a_photograph_and_digits_are_real():
    """Pixels far from a digit are found in a photograph; a digit's shape is a stored digit's."""
    made = scene(0, HELD_OUT, 11)
    free = ~ndimage.binary_dilation(made.label_map > 0, iterations=8)
    pieces = load_sample_images().images
    row = int(free.all(1).argmax())
    assert free[row].all()
    line = made.image[row]
    width = len(line)
    found = any(
        (photo[:, x : x + width] == variant).all((1, 2)).any()
        for photo in pieces
        for variant in (line, line[::-1])
        for x in range(640 - width + 1)
    )
    assert found
    left, top, right, bottom = made.boxes[0].astype(int)
    shape = made.masks[0][top:bottom, left:right]
    data = load_digits()
    best = []
    for image, target in zip(data.images, data.target, strict=True):
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        grown = ndimage.zoom(cut, np.array(shape.shape) / cut.shape, order=1, grid_mode=False) > 7
        best.append(((grown & shape).sum() / (grown | shape).sum(), target))
    assert max(best)[0] > 0.75
    assert max(best)[1] == made.digits[0]


def digest(count=6):
    source = open_label_maps("digit_scenes").train
    examples = [source[index] for index in range(count)]
    return hashlib.sha256(
        b"".join(e.image.tobytes() + e.label.tobytes() for e in examples)
    ).hexdigest()


def test_scenes_are_the_same_in_every_process_and_differ_by_seed_split_and_index():
    code = (
        "import sys; import inceptionnext_jax.data.digit_scenes; "
        "assert 'sklearn' not in sys.modules; "
        "from tests.data.test_digit_scenes import digest; print(digest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == digest()
    images = {
        scene(*where).image.tobytes() for where in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    }
    assert len(images) == 4


def test_data_set_holds_scenes_whatever_the_seed_of_the_run():
    dataset = open_label_maps("digit_scenes", seed=3)
    assert (dataset.num_train, dataset.num_eval, dataset.num_classes) == (1000, 100, 11)
    assert dataset.class_names[:2] == ("background", "0")
    source = pickle.loads(pickle.dumps(dataset.eval))
    example = source[99]
    expected = scene(0, HELD_OUT, 99)
    np.testing.assert_array_equal(example.image, expected.image)
    np.testing.assert_array_equal(dataset.rule(example.label, example.name), expected.label_map)
    assert example.name == "digit_scenes/held_out/0099"
    with pytest.raises(IndexError):
        source[100]
