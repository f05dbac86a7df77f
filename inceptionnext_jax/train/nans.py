"""Where a NaN or an infinity came from: what `debug_nans` finds, in one sentence."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inceptionnext_jax.errors import RunError
from inceptionnext_jax.train.peers import first_line

_PACKAGE = Path(__file__).parent.parent


@contextmanager
def naming_the_operation(step: int, lr: float) -> Iterator[None]:
    """Raises RunError for the FloatingPointError that jax_debug_nans makes of them."""
    try:
        yield
    except FloatingPointError as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if _PACKAGE in Path(frame.filename).parents]
        # The innermost of ours that is not the loop itself: the line of the operation.
        place = f" at {own[-1].filename}:{own[-1].lineno} ({own[-1].line})" if own else ""
        raise RunError(
            f"not finite in step {step} (lr {lr:g}): {first_line(error)}{place}"
        ) from error
