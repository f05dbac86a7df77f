"""Settings of JAX that the sub-commands share with main.py."""

import sys
from pathlib import Path

COMPILATIONS = "~/.cache/inceptionnext_jax/xla"  # as in configs/default.py


def cache_compilations(folder: str = COMPILATIONS) -> None:
    """Keeps compiled programs in `folder`, which is made; says so where it cannot be."""
    import jax

    path = Path(folder).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(path))
    except OSError as error:
        print(f"no compilation cache: {path} ({error.strerror})", file=sys.stderr)
