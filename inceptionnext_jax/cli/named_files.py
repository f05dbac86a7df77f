"""Files that are named after the images they are about."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from inceptionnext_jax.files import check_folder_target, replaced, write_atomically, writing

if TYPE_CHECKING:
    from PIL.Image import Image


class NamedFiles:
    """A folder that gets files for each image, of names that no other image has."""

    def __init__(self, folder: str):
        """Raises UserError if the path cannot be a folder.

        folder: The value of --to; made with the first image if it is missing.
        """
        self._folder, self._shown = Path(folder).expanduser(), f"--to={folder}"
        self._taken: set[str] = set()
        self._images: Counter[str] = Counter()
        check_folder_target(self._folder, self._shown)

    def write(
        self, image: str, pictures: "Mapping[str, Image]", texts: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Writes NAME_KIND.png for each picture and NAME_KIND.json for each text.

        Args:
          image: Path or name of the image.
          pictures, texts: By kind.

        Returns:
          The paths by kind.

        Raises:
          UserError: They cannot be written.
        """
        name = self._free_name(Path(image).stem)
        paths = {kind: self._folder / f"{name}_{kind}.png" for kind in pictures}
        texts = texts or {}
        text_paths = {kind: self._folder / f"{name}_{kind}.json" for kind in texts}
        with writing(self._shown):
            self._folder.mkdir(parents=True, exist_ok=True)
            for kind, picture in pictures.items():
                with replaced(paths[kind]) as temporary:
                    picture.save(temporary, format="PNG")
            for kind, text in texts.items():
                write_atomically(text_paths[kind], text)
        return {kind: str(path) for kind, path in (paths | text_paths).items()}

    def _free_name(self, stem: str) -> str:
        """Returns stem, stem-2, stem-3, …: the first that no image has had."""
        name = stem
        while name.casefold() in self._taken:  # file systems may not tell A from a
            self._images[stem] += 1
            name = f"{stem}-{self._images[stem] + 1}"
        self._taken.add(name.casefold())
        return name
