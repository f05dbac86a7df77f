"""Variables that have moved since steps were written, and the rules for reading those steps."""

import re
from typing import TypeVar

Value = TypeVar("Value")

# (regex of a whole path as it was saved, its replacement). Paths of the state, such as
# "params/stem/kernel" or "ema/batch_stats/head/norm/mean".
RULES: tuple[tuple[str, str], ...] = (
    # VanillaNet's slope is a host variable; it was among the running statistics.
    (r"(ema/)?batch_stats/slope", r"\1host/slope"),
)


def current_path(saved: str) -> str:
    """The present path of an array that was saved as `saved`."""
    for pattern, replacement in RULES:
        if re.fullmatch(pattern, saved):
            return re.sub(pattern, replacement, saved)
    return saved


def current_paths(saved: dict[str, Value]) -> dict[str, Value]:
    """Values by saved path -> the same by present path."""
    return {current_path(path): value for path, value in saved.items()}
