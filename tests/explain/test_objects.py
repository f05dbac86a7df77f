"""Boxes, masks and labels are where the objects are, and can be read."""

import numpy as np
import pytest

from inceptionnext_jax.data.instance_masks import encode
from inceptionnext_jax.data.object_colors import object_colors
from inceptionnext_jax.explain.objects import Drawn, draw_objects

GREY = np.full((60, 80, 3), 120, np.uint8)
RED, BLUE = (250, 40, 40), (40, 40, 250)


def plain(image, objects):
    """The picture at the image's own size."""
    return np.asarray(draw_objects(image, objects, small=80, large=80))


def test_nothing_is_drawn_on_an_image_without_objects():
    np.testing.assert_array_equal(plain(GREY, []), GREY)


def test_a_box_is_a_frame_around_its_pixels():
    picture = plain(GREY, [Drawn((10, 20, 50, 45), RED)])
    changed = (picture != GREY).any(-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (20, 44, 10, 49)
    assert (picture[changed] == RED).all()
    assert not changed[23:42, 13:47].any()


def test_a_mask_is_translucent_with_an_edge_in_its_colour():
    mask = np.zeros((60, 80), np.uint8)
    mask[25:40, 15:40] = 1
    picture = plain(GREY, [Drawn((10, 20, 50, 45), BLUE, mask=encode(mask))])
    inside = picture[30, 20].astype(int)
    assert (inside != GREY[30, 20]).all()
    assert (inside != BLUE).all()
    assert tuple(picture[25, 20]) == tuple(picture[30, 39]) == BLUE
    assert tuple(picture[30, 41]) == tuple(GREY[0, 0])


def test_an_enlarged_mask_covers_the_enlarged_pixels():
    mask = np.zeros((60, 80), np.uint8)
    mask[59, 79] = mask[0, 3] = 1
    picture = np.asarray(draw_objects(GREY, [Drawn((0, 0, 1, 1), RED, mask=encode(mask))], 320))
    assert picture.shape == (240, 320, 3)
    red = (picture != 120).any(-1)
    assert red[236:, 316:].all()
    assert red[:4, 12:16].all()
    assert red.sum() <= 16 + 16 + 16


def test_lines_tell_what_was_found_from_what_is_annotated_and_from_groups():
    mask = np.zeros((60, 80), np.uint8)
    mask[22:43, 12:48] = 1
    pictures = {
        line: plain(GREY, [Drawn((10, 20, 50, 45), RED, mask=encode(mask), line=line)])
        for line in ("solid", "dashed", "dotted")
    }
    top = {line: (picture[20, 10:50] == RED).all(-1) for line, picture in pictures.items()}
    assert top["solid"].all()
    assert 0.5 < top["dashed"].mean() < 0.8
    assert 0.2 < top["dotted"].mean() < 0.5
    tinted = {line: (p[26:40, 16:44] != GREY[0, 0]).any(-1) for line, p in pictures.items()}
    assert tinted["dashed"].all()
    assert 0.2 < tinted["dotted"].mean() < 0.5


@pytest.mark.parametrize(
    "box", [(0, 0, 20, 8), (70, 0, 80, 8), (0, 50, 20, 60), (75, 55, 80, 60), (0, 0, 80, 60)]
)
@pytest.mark.parametrize("label", ["cat 0.97", "a name that is far too long for a picture 0.5"])
def test_labels_lie_within_the_picture(box, label):
    """A larger canvas would get all of the label's pixels; none may be cut off."""
    image = np.full((60, 80, 3), 120, np.uint8)
    picture = plain(image, [Drawn(box, (0, 255, 0), label)])
    ground = (picture == (0, 255, 0)).all(-1)
    ink = (picture.max(-1) < 60) & ~ground
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    assert rows.size
    assert rows[0] > 0
    assert rows[-1] < 59
    assert columns[0] > 0
    assert columns[-1] < 79


def test_labels_of_neighbours_do_not_cover_each_other():
    image = np.full((300, 400, 3), 120, np.uint8)
    near = [Drawn((100, 100, 160 + 4 * i, 150 + 4 * i), RED, f"object {i}") for i in range(3)]
    apart = [Drawn((10, 60 + 80 * i, 60, 100 + 80 * i), RED, f"object {i}") for i in range(3)]

    def ink(objects):
        drawn = np.asarray(draw_objects(image, objects, 400, 400))
        return int((drawn.min(-1) > 230).sum() + (drawn.max(-1) < 60).sum())

    assert ink(near) == ink(apart)


@pytest.mark.parametrize("color", [(255, 255, 0), (90, 200, 90), (0, 0, 200), (130, 0, 90)])
def test_letters_contrast_with_their_ground(color):
    picture = plain(GREY, [Drawn((10, 30, 60, 50), color, "mmm")])
    label = picture[15:30, 10:50].reshape(-1, 3)
    others = label[(label != color).any(-1) & (label != 120).any(-1)].astype(float)
    brightness = np.array([0.299, 0.587, 0.114])
    assert np.abs(others @ brightness - np.dot(color, brightness)).max() > 100


def test_colours_of_eighty_classes_differ_and_are_bright():
    colors = np.array(object_colors(80))
    assert len(np.unique(colors, axis=0)) == 80
    assert (colors.max(1) >= 200).all()
    neighbours = np.abs(np.diff(colors, axis=0)).sum(1)
    assert neighbours.min() > 100
