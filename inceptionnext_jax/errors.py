"""Errors that a user can fix, how they are printed, and spelling suggestions."""

import difflib
import sys
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake of the user's: bad config, flag, path, file or checkpoint.

    The message is one sentence: what was got, what was expected, what to do. Command lines print
    it as `error: …` without a traceback and exit with code 2.
    """


class RunError(RuntimeError):
    """A run that cannot continue for a reason that is not the user's command: exit code 1.

    The message is one sentence and is printed as `error: …` without a traceback.
    """


def print_error(message: object) -> None:
    """Prints each line of a message, or of an error's, as `error: …` on stderr."""
    for line in str(message).splitlines():
        print(f"error: {line}", file=sys.stderr)


def exit_code(error: BaseException) -> int:
    """The exit code of a process that ends with this error."""
    return 2 if isinstance(error, UserError) else 1


def first_line(error: BaseException) -> str:
    """The first line of an error's message, shortened; its type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def suggestion(name: str, choices: Iterable[str]) -> str:
    """Returns "; did you mean a, b?" for the nearest choices, or "" if none is near."""
    near = difflib.get_close_matches(name, list(choices), n=3, cutoff=0.5)
    return f"; did you mean {', '.join(near)}?" if near else ""
