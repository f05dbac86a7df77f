"""Cross entropy of each pixel, with mmsegmentation's ways to weigh and to average it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from inceptionnext_jax.data.label_maps import IGNORED

NORMALIZERS = ("all", "valid")


@dataclass(frozen=True)
class PixelLoss:
    """Cross entropy of [N, H, W, K] logits and [N, H, W] labels, averaged over pixels.

    Attributes:
      normalizer: "all" divides by the number of pixels, ignored ones included (mmsegmentation's
        default); "valid" divides by the labelled pixels' number, or by the sum of their class
        weights (PyTorch's and Hugging Face's).
      class_weights: A weight for each class; None is 1 for all.
      ohem_threshold: Online hard example mining: only pixels count whose class has a probability
        below this, and at least `ohem_min_kept` pixels an image; None counts all.
      ohem_min_kept: Pixels of an image, on average over the batch.
    """

    normalizer: str = "all"
    class_weights: tuple[float, ...] | None = None
    ohem_threshold: float | None = None
    ohem_min_kept: int = 100_000

    def __call__(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Returns the loss, []."""
        valid = labels != IGNORED
        classes = jnp.where(valid, labels, 0).astype(jnp.int32)
        own = jnp.take_along_axis(logits, classes[..., None], axis=-1)[..., 0]
        log_probs = own - jax.nn.logsumexp(logits, axis=-1)
        weights = valid.astype(logits.dtype)
        if self.class_weights is not None:
            weights *= jnp.asarray(self.class_weights, logits.dtype)[classes]
        total = labels.size if self.normalizer == "all" else jnp.maximum(weights.sum(), 1e-12)
        if self.ohem_threshold is not None:
            probs = jax.lax.stop_gradient(jnp.exp(log_probs))
            weights *= self._hard(probs, valid, self.ohem_threshold)
        return -(weights * log_probs).sum() / total

    def _hard(self, probs: jax.Array, valid: jax.Array, threshold: float) -> jax.Array:
        """Returns 1 for the pixels that count, [N, H, W].

        probs: Probabilities of the pixels' own classes.
        """
        kept = min(self.ohem_min_kept * len(probs), probs.size)
        ascending = jnp.sort(jnp.where(valid, probs, jnp.inf).ravel())
        # Where fewer pixels are labelled than are to be kept, all of them count.
        last = jnp.minimum(kept, valid.sum() - 1)
        limit = jnp.maximum(ascending[last], threshold)
        return (probs < limit).astype(probs.dtype)


def pixel_hits(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns (pixels whose class has the largest logit, labelled pixels), [] in logits' dtype."""
    valid = labels != IGNORED
    hits = valid & (logits.argmax(axis=-1) == labels)
    return hits.sum(dtype=logits.dtype), valid.sum(dtype=logits.dtype)
