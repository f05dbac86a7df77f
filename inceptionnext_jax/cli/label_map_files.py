"""Files of label maps: PNGs of class numbers, and overlays to look at."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.cli.named_files import NamedFiles

if TYPE_CHECKING:
    import numpy as np

    from inceptionnext_jax.data.label_maps import Color
    from inceptionnext_jax.pretrained import Segmentation

_PALETTE_SIZE = 256


class LabelMapFiles:
    """A folder that gets two files for each image, of names that no other image has."""

    def __init__(self, folder: str, colors: "Sequence[Color]"):
        """Raises UserError if the path cannot be a folder.

        Args:
          folder: Made with the first image if it is missing.
          colors: One for each class.
        """
        self._files, self._colors = NamedFiles(folder), colors

    def write(self, found: "Segmentation") -> dict[str, str]:
        """Writes NAME_labels.png and NAME_overlay.png; returns {"labels": path, "overlay": path}.

        Raises:
          UserError: They cannot be written.
        """
        from inceptionnext_jax.explain.legend import Entry
        from inceptionnext_jax.explain.segments import draw_overlay

        entries = [
            Entry(self._colors[k], name, f"{share:.1%}")
            for k, share, name in zip(found.classes, found.shares, found.names, strict=True)
        ]
        overlay = draw_overlay(found.image, found.label_map, self._colors, entries)
        labels = label_picture(found.label_map, self._colors)
        return self._files.write(found.path, {"labels": labels, "overlay": overlay})


def label_picture(label_map: "np.ndarray", colors: "Sequence[Color]") -> Any:
    """Returns the class numbers as a picture with a palette, or as 16-bit grey if there are many.

    Args:
      label_map: [H, W] int16 ≥ 0.
      colors: One for each class.
    """
    import numpy as np
    from PIL import Image

    if len(colors) > _PALETTE_SIZE:
        return Image.fromarray(label_map.astype(np.uint16))
    picture = Image.fromarray(label_map.astype(np.uint8), "P")
    picture.putpalette([part for color in colors for part in color])
    return picture
