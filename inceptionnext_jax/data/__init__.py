"""Input on the host: sources, decode and crop, transforms, batches. No jax arrays here."""

from inceptionnext_jax.data.batches import BatchIterator, eval_batches, train_batches
from inceptionnext_jax.data.catalog import known_dataset, open_dataset, register_dataset
from inceptionnext_jax.data.dataset import Dataset, Example, Source
from inceptionnext_jax.data.transform import ArraySpec, Transform

__all__ = [
    "ArraySpec",
    "BatchIterator",
    "Dataset",
    "Example",
    "Source",
    "Transform",
    "eval_batches",
    "known_dataset",
    "open_dataset",
    "register_dataset",
    "train_batches",
]
