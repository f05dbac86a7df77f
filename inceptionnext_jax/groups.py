"""Groups of consecutive images within a batch: those that share statistics or are mixed."""


def group_size(requested: int, batch_size: int) -> int:
    """Returns the images of one group: 0 requests all, and a smaller batch is one group."""
    return min(requested or batch_size, batch_size)


def nearest_multiples(value: int, of: int) -> str:
    """Returns "992 or 1024": the multiples of `of` on both sides of `value`."""
    below, above = value // of * of, (value // of + 1) * of
    return f"{below} or {above}" if below else f"{above}"


def check_group(key: str, requested: int, batch_size: int, accumulate: int) -> list[str]:
    """Returns the reason why the micro-batches do not divide into groups, if there is one.

    Args:
      key: The config key of the group.
      requested: Its value, >= 0.
      batch_size: Images of a step, a multiple of `accumulate`.
      accumulate: Micro-batches of a step.
    """
    micro_batch, group = batch_size // accumulate, group_size(requested, batch_size)
    if requested == 0 and accumulate > 1:
        return [
            f"{key}=0 (one group of the whole batch) cannot be combined with "
            f"optim.accumulate={accumulate}: a group lies within a micro-batch of {micro_batch} "
            "images; set it to at most that"
        ]
    if batch_size % group:
        return [
            f"batch_size={batch_size} is not a multiple of {key}={requested}; "
            f"try {nearest_multiples(batch_size, group)}"
        ]
    if micro_batch % group:
        return [
            f"{key}={requested} does not lie within the micro-batches of {micro_batch} images "
            f"(batch_size={batch_size} / optim.accumulate={accumulate}); set it to a divisor"
        ]
    return []
