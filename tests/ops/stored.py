"""What mmdetection 3.3.0 computed with its operators on the CPU, in `golden/`."""

import functools
import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden"


@functools.cache
def stored(file):
    """Returns a file's arrays by name ("inputs/…", "outputs/…", a list as "name/0", …)."""
    with np.load(GOLDEN / f"{file}.npz") as arrays:
        return dict(arrays)


def settings(file):
    return json.loads(str(stored(file)["settings"]))
