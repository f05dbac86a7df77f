"""Input on the host: sources, decode and crop, sampling, Grain pipelines. No jax arrays here."""

from inceptionnext_jax.data.batches import BatchIterator, eval_batches, train_batches
from inceptionnext_jax.data.catalog import open_dataset
from inceptionnext_jax.data.dataset import Dataset, Example, Source
from inceptionnext_jax.data.sizes import known_sizes

__all__ = [
    "BatchIterator",
    "Dataset",
    "Example",
    "Source",
    "eval_batches",
    "known_sizes",
    "open_dataset",
    "train_batches",
]
