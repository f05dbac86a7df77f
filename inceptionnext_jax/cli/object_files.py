"""Files of detections: pictures of objects, and JSON."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.cli.named_files import NamedFiles

if TYPE_CHECKING:
    from inceptionnext_jax.data.label_maps import Color
    from inceptionnext_jax.pretrained import Detection


class ObjectFiles:
    """A folder that gets two files for each image, of names that no other image has."""

    def __init__(self, folder: str, colors: "Sequence[Color]"):
        """Raises UserError if the path cannot be a folder.

        Args:
          folder: Made with the first image if it is missing.
          colors: One for each class.
        """
        self._files, self._colors = NamedFiles(folder), colors

    def write(self, found: "Detection") -> dict[str, str]:
        """Writes NAME_picture.png and NAME_detections.json; returns the paths by kind.

        Raises:
          UserError: They cannot be written.
        """
        from inceptionnext_jax.explain.objects import Drawn, draw_objects

        masks: Sequence[bytes | None] = found.masks or [None] * len(found.boxes)
        rows = zip(found.boxes, found.classes, found.names, found.scores, masks, strict=True)
        objects = [
            Drawn(box, self._colors[k], f"{name} {score:.2f}", mask)
            for box, k, name, score, mask in rows
        ]
        return self._files.write(
            found.path,
            {"picture": draw_objects(found.image, objects)},
            {"detections": json.dumps(described(found), indent=1, ensure_ascii=False) + "\n"},
        )


def described(found: "Detection") -> dict[str, Any]:
    """Returns detections as they stand in JSON, with masks in COCO's compressed run lengths."""
    size = list(found.image.shape[:2])
    objects = []
    for i, (k, name) in enumerate(zip(found.classes, found.names, strict=True)):
        one = {
            "class": int(k),
            "name": name,
            "score": round(float(found.scores[i]), 6),
            "box": [round(float(side), 3) for side in found.boxes[i]],
        }
        if found.masks is not None:
            one["mask"] = {"size": size, "counts": found.masks[i].decode("ascii")}
        objects.append(one)
    return {"path": found.path, "size": size, "objects": objects}
