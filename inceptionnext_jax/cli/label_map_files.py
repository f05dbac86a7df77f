"""Files of label maps: PNGs of class numbers, and overlays to look at."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.files import check_folder_target, replaced, writing

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
        self._folder, self._colors = Path(folder).expanduser(), colors
        self._shown = f"--to={folder}"
        self._taken: set[str] = set()
        self._images: Counter[str] = Counter()
        check_folder_target(self._folder, self._shown)

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
        pictures = {
            "labels": label_picture(found.label_map, self._colors),
            "overlay": draw_overlay(found.image, found.label_map, self._colors, entries),
        }
        name = self._free_name(Path(found.path).stem)
        paths = {kind: self._folder / f"{name}_{kind}.png" for kind in pictures}
        with writing(self._shown):
            self._folder.mkdir(parents=True, exist_ok=True)
            for kind, picture in pictures.items():
                with replaced(paths[kind]) as temporary:
                    picture.save(temporary, format="PNG")
        return {kind: str(path) for kind, path in paths.items()}

    def _free_name(self, stem: str) -> str:
        """Returns stem, stem-2, stem-3, …: the first that no image has had."""
        name = stem
        while name.casefold() in self._taken:  # file systems may not tell A from a
            self._images[stem] += 1
            name = f"{stem}-{self._images[stem] + 1}"
        self._taken.add(name.casefold())
        return name


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
