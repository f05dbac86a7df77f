"""Augmented images with their objects on a contact sheet."""

from ml_collections import ConfigDict

from inceptionnext_jax.data.instances import InstanceDataset
from inceptionnext_jax.errors import UserError
from inceptionnext_jax.tasks.kind import Sheet


def sheet(config: ConfigDict, dataset: InstanceDataset) -> Sheet:
    """Returns the drawing of images with their objects."""
    raise UserError("explain augment does not draw detection yet")
