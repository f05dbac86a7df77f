"""A folder to deploy: the exported function, the names of its classes, and how to use both."""

from pathlib import Path

from inceptionnext_jax.errors import UserError, suggestion
from inceptionnext_jax.export import onnx_file, stablehlo
from inceptionnext_jax.export.function import make_inference
from inceptionnext_jax.export.readme import readme
from inceptionnext_jax.files import check_folder_target, replaced, write_atomically, writing
from inceptionnext_jax.pretrained import Pretrained

FORMATS = {"stablehlo": stablehlo.FILE, "onnx": onnx_file.FILE}
README, CLASSES = "README.md", "classes.txt"


def export(pretrained: Pretrained, directory: str | Path, format: str, uint8: bool = False) -> Path:
    """Writes the deployed form of a network; returns the path of the exported file.

    The folder gets that file, `README.md` on input, output, preprocessing and versions, and
    `classes.txt` with a name a line. The exported function is first compared with the network.

    Args:
      pretrained: From `load_pretrained`.
      directory: Created if it is missing; it holds one export.
      format: A name in `FORMATS`.
      uint8: Whether normalisation is inside and images are pixels.

    Raises:
      UserError: The format is unknown or cannot hold the network, the folder holds another export
        or cannot be written, a package is missing, or the exported function computes something
        else.
    """
    if format not in FORMATS:
        raise UserError(
            f"format={format!r} is unknown, expected one of {', '.join(FORMATS)}"
            f"{suggestion(format, FORMATS)}"
        )
    folder = check_folder(directory, format)
    if format == "onnx":
        onnx_file.check_network(pretrained.name)
    inference = make_inference(pretrained, uint8)
    write = stablehlo.to_stablehlo if format == "stablehlo" else onnx_file.to_onnx
    data = write(inference)
    path = folder / FORMATS[format]
    names = (" ".join(name.split()) for name in pretrained.readable_names)
    with writing(str(directory)):
        folder.mkdir(parents=True, exist_ok=True)
        with replaced(path) as temporary:
            temporary.write_bytes(data)
        write_atomically(folder / README, readme(inference, format, path.name, len(data)))
        write_atomically(folder / CLASSES, "".join(f"{name}\n" for name in names))
    return path


def check_folder(directory: str | Path, format: str) -> Path:
    """The folder to write; raises UserError, before any work, for a file or another export."""
    folder = Path(directory).expanduser()
    check_folder_target(folder, str(directory))
    for other, file in FORMATS.items():
        if other != format and (folder / file).exists():
            raise UserError(f"{directory} holds {file} of another export; name another folder")
    return folder
