"""Names for the values that pass between the rooms."""

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import jax

PyTree: TypeAlias = Any  # nested dicts, tuples and dataclasses of arrays, as jax.tree sees them
# A model's collections of arrays: "params", and where the model has them "batch_stats" (running
# statistics) and "host" (scalars that the host sets before each update).
Variables: TypeAlias = dict[str, PyTree]
Batch: TypeAlias = "dict[str, jax.Array]"  # arrays on the devices; the first axis counts examples
HostBatch: TypeAlias = dict[str, np.ndarray]  # the same on the host, this process's rows
Sums: TypeAlias = PyTree  # arrays that add up over batches
Records: TypeAlias = PyTree  # arrays with a row for each example
