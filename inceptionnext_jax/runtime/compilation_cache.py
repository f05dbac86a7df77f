"""JAX's persistent compilation cache."""

import sys
from pathlib import Path

from inceptionnext_jax.files import cache_folder

DEFAULT = "~/.cache/inceptionnext_jax/xla"  # as in configs/default.py


def cache_compilations(folder: str = DEFAULT) -> None:
    """Keeps compiled programs in `folder`, creating it; prints a note if that is not possible.

    `DEFAULT` stands for the package's cache folder, so XDG_CACHE_HOME moves it.
    """
    import jax

    path = cache_folder("xla") if folder == DEFAULT else Path(folder).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(path))
    except OSError as error:
        print(f"no compilation cache: {path} ({error.strerror})", file=sys.stderr)
