"""Errors that a user can mend, and spelling suggestions."""

import difflib
import sys
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake of the user's: bad config, flag, path, file or checkpoint.

    The message is one sentence: what was got, what was expected, what to do. Command lines print
    it as `error: …` without a traceback and exit with code 2.
    """


def suggestion(name: str, choices: Iterable[str]) -> str:
    """Returns "; did you mean a, b?" for the nearest choices, or "" when none is near."""
    near = difflib.get_close_matches(name, list(choices), n=3, cutoff=0.5)
    return f"; did you mean {', '.join(near)}?" if near else ""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, shortened; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


class RunError(RuntimeError):
    """A run that cannot go on for a reason that is not the user's command: exit code 1.

    The message is one sentence and is printed as `error: …` without a traceback.
    """


def print_error(error: BaseException | str) -> None:
    """Prints each line of a message as `error: …` on standard error."""
    for line in str(error).splitlines():
        print(f"error: {line}", file=sys.stderr)
