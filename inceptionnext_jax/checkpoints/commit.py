"""Committing a step: its manifest is written, and only then it gets its name or its marker."""

import asyncio
from typing import Any

from orbax.checkpoint.path import atomicity

from inceptionnext_jax.checkpoints import manifest
from inceptionnext_jax.workdir import storage


class _WithManifest(atomicity.TemporaryPathBase):
    """A temporary folder; Orbax finalizes it once all processes have written their files."""

    async def finalize(self) -> None:
        if self.get_final().name.isdigit():  # a whole step, not one of its items
            # Orbax would add a commit time, which nothing reads, to its metadata.
            store: Any = self._checkpoint_metadata_store  # type: ignore[has-type]
            self._checkpoint_metadata_store = None
            if store is not None:
                await asyncio.to_thread(store.wait_until_finished)
            await asyncio.to_thread(manifest.write_manifest, storage.storage_path(self.get()))
        await super().finalize()


class CommitByRename(_WithManifest, atomicity.AtomicRenameTemporaryPath):
    """A step on disk."""


class CommitByMarker(_WithManifest, atomicity.CommitFileTemporaryPath):
    """A step in a bucket, which has no atomic rename: an object that is written last marks it."""
