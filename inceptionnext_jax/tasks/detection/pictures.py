"""Pictures of an evaluation: precision over recall, and the images with most mistakes."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from inceptionnext_jax.data.dataset import Example
from inceptionnext_jax.data.decode import BadImageError, decode_pil
from inceptionnext_jax.explain.fonts import INK, PAPER, sans, shorten
from inceptionnext_jax.explain.grid import Style, draw_grid
from inceptionnext_jax.explain.legend import Entry
from inceptionnext_jax.explain.objects import Drawn, draw_objects
from inceptionnext_jax.files import replaced
from inceptionnext_jax.tasks.detection.ap import ImageResult, Kind, Scores

OVERLAP = 0.5  # intersection over union from which a detection is right
THRESHOLD = 0.3  # score of the detections that are drawn and counted
_KINDS: dict[Kind, str] = {"bbox": "boxes", "segm": "masks"}
_IOU50, _IOU75 = 0, 5  # of 0.5, 0.55 .. 0.95
_WORST = 5  # classes with a curve of their own
_IMAGES = 6  # with most mistakes
_COLUMNS = 2
_SIDE = 400  # pixels of the long side of a picture, about
_GAP, _HEADING, _FONT = 6, 22, 14  # pixels within a pair of pictures; font size
_RIGHT, _WRONG, _MISSED = (94, 201, 98), (255, 77, 77), (255, 176, 0)
_CROWD = (170, 178, 189)


def draw_curves(scores: Mapping[Kind, Scores], names: Sequence[str], path: Path) -> None:
    """Draws precision over recall: the mean over classes, and the classes with the lowest AP.

    Args:
      scores: A row of the picture for each kind.
      names: One for each class.
      path: The PNG file to write.
    """
    from matplotlib.figure import Figure  # slow to import, and few calls need it

    figure = Figure(figsize=(11, 4.6 * len(scores)), layout="constrained")
    rows: Any = figure.subplots(len(scores), 2, squeeze=False, sharex=True, sharey=True)
    for row, (kind, found) in zip(rows, scores.items(), strict=True):
        _draw_means(row[0], found, kind)
        _draw_worst_classes(row[1], found, kind, names)
        for axes in row:
            axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
            axes.grid(alpha=0.3)
            if axes.lines:
                axes.legend(loc="lower left", fontsize=9)
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _draw_means(axes: Any, found: Scores, kind: Kind) -> None:
    known = ~np.isnan(found.precision).any((0, 1))
    precision, recall = found.precision[:, :, known], _recall()
    axes.set_title(f"{_KINDS[kind]}: mean of {known.sum()} classes")
    if not known.any():
        return
    for name, values, style in (
        ("IoU ≥ 0.5", precision[_IOU50], "-"),
        ("IoU ≥ 0.75", precision[_IOU75], "--"),
        ("mean over IoU 0.5 … 0.95", precision.mean(0), ":"),
    ):
        curve = values.mean(1)
        axes.plot(recall, curve, style, label=f"{name}: AP {curve.mean():.3f}")


def _draw_worst_classes(axes: Any, found: Scores, kind: Kind, names: Sequence[str]) -> None:
    order = np.argsort(found.per_class50, kind="stable")  # nan last
    worst = [k for k in order[:_WORST] if not np.isnan(found.per_class50[k])]
    axes.set_title(f"{_KINDS[kind]}: classes with the lowest AP at IoU ≥ 0.5")
    for k in worst:
        label = f"{names[k]}: AP {found.per_class50[k]:.3f}"
        axes.plot(_recall(), found.precision[_IOU50, :, k], label=label)


def _recall() -> np.ndarray:
    return np.linspace(0, 1, 101)


class Mistakes(NamedTuple):
    """The mistakes in the detections of one image.

    Attributes:
      number: The image's position in the annotations' "images".
      objects: Its annotations.
      found: [N] bool, which of these are detected; groups count as detected.
      result: Its detections with a score from THRESHOLD on.
      right: [D] bool, which of these detect an object.
      ignored: [D] bool, which of these lie in a group, so that they are neither right nor wrong.
    """

    number: int
    objects: Sequence[Mapping[str, Any]]
    found: np.ndarray
    result: ImageResult
    right: np.ndarray
    ignored: np.ndarray

    @property
    def missed(self) -> int:
        return int((~self.found).sum())

    @property
    def false(self) -> int:
        return int((~self.right & ~self.ignored).sum())


def mistakes(truth: Mapping[str, Any], results: Sequence[ImageResult]) -> list[Mistakes]:
    """Returns what is wrong in each image, most mistakes first, by COCO's rules for boxes.

    truth: `InstanceSource.ground_truth` of the images that were evaluated.
    """
    objects = defaultdict(list)
    for annotation in truth["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    numbers = {image["id"]: number for number, image in enumerate(truth["images"])}
    classes = {category["id"]: k for k, category in enumerate(truth["categories"])}
    all_images = [
        _mistakes(numbers[result.image_id], objects[result.image_id], result, classes)
        for result in results
    ]
    return sorted(all_images, key=lambda one: (-one.missed - one.false, one.number))


def _mistakes(
    number: int,
    objects: Sequence[Mapping[str, Any]],
    result: ImageResult,
    classes: Mapping[int, int],
) -> Mistakes:
    order = np.argsort(-result.scores, kind="stable")
    order = order[result.scores[order] >= THRESHOLD]
    masks = None if result.masks is None else [result.masks[i] for i in order]
    result = result._replace(
        boxes=result.boxes[order],
        scores=result.scores[order],
        classes=result.classes[order],
        masks=masks,
    )
    crowd = np.array([bool(one["iscrowd"]) for one in objects], bool)
    overlaps = _overlaps(result, objects, crowd)
    same = np.array([classes[one["category_id"]] for one in objects], int)[None]
    overlaps = np.where(result.classes[:, None] == same, overlaps, -1.0)
    found = np.zeros(len(objects), bool)
    right, ignored = np.zeros(len(order), bool), np.zeros(len(order), bool)
    for i, row in enumerate(overlaps):
        free = np.where(found | crowd, -1.0, row)
        best = int(free.argmax()) if free.size else 0
        if free.size and free[best] >= OVERLAP:
            found[best] = right[i] = True
        else:
            ignored[i] = bool((row[crowd] >= OVERLAP).any())
    return Mistakes(number, objects, found | crowd, result, right, ignored)


def _overlaps(
    result: ImageResult, objects: Sequence[Mapping[str, Any]], crowd: np.ndarray
) -> np.ndarray:
    """Intersection over union, or over the detection where the object is a group, [D, N]."""
    if not len(result.boxes) or not objects:
        return np.zeros((len(result.boxes), len(objects)))
    boxes = result.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    annotated = np.array([one["bbox"] for one in objects], np.float64)
    return coco_mask.iou(boxes, annotated, crowd.astype(np.uint8).tolist())


def draw_worst_images(
    truth: Mapping[str, Any],
    results: Sequence[ImageResult],
    names: Sequence[str],
    read: Callable[[int], Example],
    path: Path,
) -> bool:
    """Draws the images with most mistakes, with what is annotated and what was detected.

    Args:
      truth, results: As in `mistakes`.
      names: One for each class.
      read: Returns the image at a position of the annotations' "images"; called for few.
      path: The PNG file to write.

    Returns: Whether there is such an image; else nothing is written.
    """
    ids = [category["id"] for category in truth["categories"]]
    classes = dict(zip(ids, names, strict=True))
    pairs: list[Image.Image] = []
    for one in mistakes(truth, results):
        if len(pairs) == _IMAGES or not one.missed + one.false:
            break
        try:
            example = read(one.number)
            pixels = np.asarray(decode_pil(example.image, example.name))
        except BadImageError:
            continue
        heading = f"{Path(example.name).name}: {one.missed} missed, {one.false} false"
        both = (_annotated(one, classes), _detected(one, names))
        pictures = [draw_objects(pixels, objects, _SIDE, _SIDE) for objects in both]
        pairs.append(_pair(heading, *pictures))
    if not pairs:
        return False
    size = max(pair.width for pair in pairs), max(pair.height for pair in pairs)
    tiles = [_padded(pair, size) for pair in pairs]
    page = draw_grid(
        "Images with most mistakes",
        [
            "Left: as annotated. Right: as detected, "
            f"with scores from {THRESHOLD} on; right from IoU {OVERLAP} on.",
        ],
        [tiles[i : i + _COLUMNS] for i in range(0, len(tiles), _COLUMNS)],
        legend=[
            Entry(_RIGHT, "right"),
            Entry(_MISSED, "missed"),
            Entry(_WRONG, "false"),
            Entry(_CROWD, "a group: does not count"),
        ],
        style=Style(gap=24),
    )
    with replaced(path) as temporary:
        page.save(temporary, format="PNG")
    return True


def _pair(heading: str, left: Image.Image, right: Image.Image) -> Image.Image:
    """Draws two pictures of one size beside each other, below a line."""
    page = Image.new("RGB", (2 * left.width + _GAP, left.height + _HEADING), PAPER)
    font = sans(_FONT, bold=True)
    ImageDraw.Draw(page).text((0, 0), shorten(heading, font, page.width), INK, font)
    page.paste(left, (0, _HEADING))
    page.paste(right, (left.width + _GAP, _HEADING))
    return page


def _annotated(one: Mistakes, names: Mapping[int, str]) -> list[Drawn]:
    drawn = []
    for entry, found in zip(one.objects, one.found, strict=True):
        left, top, width, height = entry["bbox"]
        drawn.append(
            Drawn(
                (left, top, left + width, top + height),
                _CROWD if entry["iscrowd"] else _RIGHT if found else _MISSED,
                names[entry["category_id"]],
                entry["segmentation"]["counts"],
                "dotted" if entry["iscrowd"] else "dashed",
            )
        )
    return drawn


def _detected(one: Mistakes, names: Sequence[str]) -> list[Drawn]:
    result, drawn = one.result, []
    for i, (box, score, k) in enumerate(
        zip(result.boxes, result.scores, result.classes, strict=True)
    ):
        color = _RIGHT if one.right[i] else _CROWD if one.ignored[i] else _WRONG
        mask = None if result.masks is None else result.masks[i]
        drawn.append(Drawn(box, color, f"{names[k]} {score:.2f}", mask))
    return drawn


def _padded(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    page = Image.new("RGB", size, PAPER)
    page.paste(picture, (0, 0))
    return page
