"""Input on the host: sources, decode and crop, transforms, batches. No jax arrays here."""

from inceptionnext_jax.data.batches import BatchIterator, eval_batches, train_batches
from inceptionnext_jax.data.catalog import known_dataset, open_dataset, register_dataset
from inceptionnext_jax.data.dataset import Dataset, Example, Source
from inceptionnext_jax.data.label_map_catalog import (
    known_label_maps,
    open_label_maps,
    register_label_maps,
)
from inceptionnext_jax.data.label_maps import LabelMapDataset
from inceptionnext_jax.data.transform import ArraySpec, Transform

__all__ = [
    "ArraySpec",
    "BatchIterator",
    "Dataset",
    "Example",
    "LabelMapDataset",
    "Source",
    "Transform",
    "eval_batches",
    "known_dataset",
    "known_label_maps",
    "open_dataset",
    "open_label_maps",
    "register_dataset",
    "register_label_maps",
    "train_batches",
]
