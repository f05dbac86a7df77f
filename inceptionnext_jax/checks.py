"""Checks of config keys: each mistake is one sentence that names the key and the way out."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from inceptionnext_jax.errors import suggestion

if TYPE_CHECKING:  # below the rooms, where only Python's own library is imported
    from ml_collections import ConfigDict


class Section:
    """The checks of one config section, each a call that names a key.

    A key has at most one problem: its value is judged only if it is set and of the right kind.

    Attributes:
      problems: One sentence each, in the order of the calls.
    """

    def __init__(self, values: "ConfigDict", name: str = ""):
        """name: The section's own, "" for the keys that lie in none."""
        self.problems: list[str] = []
        self._values = values
        self._prefix = f"{name}." if name else ""
        self._unsound: set[str] = set()

    def number(
        self,
        key: str,
        *,
        above: float | None = None,
        at_least: float | None = None,
        below: float | None = None,
        optional: bool = False,
    ) -> None:
        """Checks a finite number against its bounds."""
        if not self._is_kind(key, is_number, "a finite number", optional):
            return
        value = self._values[key]
        if above is not None and value <= above:
            self.fail(key, f"must be > {above}")
        elif at_least is not None and value < at_least:
            self.fail(key, f"must be >= {at_least}")
        elif below is not None and value >= below:
            self.fail(key, f"must be < {below}")

    def count(
        self, key: str, *, least: int | None = 0, below: int | None = None, optional: bool = False
    ) -> None:
        """Checks a whole number; `least` is 0, 1, or None for no bound."""
        value = self._values[key]
        if is_number(value) and not isinstance(value, int):
            self.fail(key, "must be a whole number")
            return
        above, at_least = (0, None) if least == 1 else (None, least)
        self.number(key, above=above, at_least=at_least, below=below, optional=optional)

    def fraction(
        self, key: str, *, above: float | None = None, one: bool = True, optional: bool = False
    ) -> None:
        """Checks a number from 0 to 1.

        Args:
          key: Its name.
          above: A larger lower bound than 0, exclusive.
          one: Whether 1 itself is allowed.
          optional: Whether it may be unset.
        """
        self.number(key, above=above, optional=optional)
        if self.is_set(key):
            value = self._values[key]
            if not (0 <= value < 1 or (one and value == 1)):
                self.fail(key, f"must be in [0, 1{']' if one else ')'}")

    def choice(self, key: str, choices: Iterable[object]) -> None:
        """Checks one of a few values."""
        if self._is_given(key, optional=False):
            self.add(key, *one_of(self._prefix + key, self._values[key], choices))

    def flag(self, key: str) -> None:
        """Checks a truth value."""
        self._is_kind(key, lambda value: isinstance(value, bool), "True or False")

    def text(self, key: str, *, optional: bool = False) -> None:
        """Checks a string."""
        self._is_kind(key, lambda value: isinstance(value, str), "text", optional)

    def sequence(self, key: str) -> None:
        """Checks a tuple or list."""
        expected = "a sequence, such as (1.0, 2.0)"
        self._is_kind(key, lambda value: isinstance(value, tuple | list), expected)

    def pair(self, key: str) -> None:
        """Checks two numbers, a range of positive values."""
        self.sequence(key)
        if self.is_set(key):
            value = self._values[key]
            numbers = len(value) == 2 and all(map(is_number, value))
            if not numbers or not 0 < value[0] <= value[1]:
                self.fail(key, "must be two numbers, 0 < low <= high")

    def is_set(self, *keys: str) -> bool:
        """Whether these keys have values, and none of them a problem so far."""
        return all(self._values[key] is not None and key not in self._unsound for key in keys)

    def fail(self, key: str, reason: str) -> None:
        """Adds "key=value reason"."""
        self.add(key, f"{self._prefix}{key}={self._values[key]!r} {reason}")

    def add(self, key: str, *problems: str) -> None:
        """Adds sentences on a key."""
        if problems:
            self._unsound.add(key)
            self.problems += problems

    def _is_given(self, key: str, optional: bool) -> bool:
        if self._values[key] is None and not optional:
            self.add(key, f"{self._prefix}{key} is unset; give it a value")
        return self._values[key] is not None

    def _is_kind(
        self, key: str, holds: Callable[[Any], bool], expected: str, optional: bool = False
    ) -> bool:
        if self._is_given(key, optional) and not holds(self._values[key]):
            self.fail(key, f"must be {expected}")
        return self.is_set(key)


def one_of(key: str, value: object, choices: Iterable[object]) -> list[str]:
    """Returns a sentence if the value is not among the choices."""
    choices = tuple(choices)
    if value in choices:
        return []
    names = [str(choice) for choice in choices]
    hint = suggestion(str(value), names)
    return [f"{key}={value!r} is not one of {', '.join(names)}{hint}"]


def missing_sections(config: "ConfigDict", names: Sequence[str]) -> list[str]:
    """Returns a sentence for each of these sections that a config lacks."""
    return [f"{name} is unset; give it a value" for name in names if not _is_section(config, name)]


def flattened(config: "ConfigDict", prefix: str = "") -> dict[str, Any]:
    """Returns {dotted key: value}."""
    found: dict[str, Any] = {}
    for key in config:
        inside = _is_section(config, key)
        found |= (
            flattened(config[key], f"{prefix}{key}.") if inside else {prefix + key: config[key]}
        )
    return found


def is_number(value: object) -> bool:
    """Whether a value is a finite number, not a truth value."""
    if isinstance(value, int):
        return not isinstance(value, bool)
    return isinstance(value, float) and math.isfinite(value)


def is_count(value: object, least: int) -> bool:
    """Whether a value is a whole number of at least so much."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_section(config: "ConfigDict", name: str) -> bool:
    return hasattr(config.get(name), "keys")
