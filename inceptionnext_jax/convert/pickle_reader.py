"""A pickle reader that can build plain data and nothing else.

Python's own unpickler runs code that a file names. This one is a small stack machine over the
opcodes that torch.save writes for tensors, containers and numbers: names stay names (`Global`), the
few allowed calls are looked up in a table, and no attribute is ever set.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Global(NamedTuple):
    """The name of a callable in a pickle, such as `collections.OrderedDict`."""

    name: str


class RefusedError(ValueError):
    """A pickle asks for something other than plain data; the message names it."""


Call = Callable[..., Any]

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set,
}  # fmt: skip
_VALUES = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING",
    "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
)  # fmt: skip
_SMALL_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = frozenset({"PROTO", "FRAME"})
_OLD_NAMES = {"__builtin__": "builtins"}  # as Python 3 writes them in protocol 2
_MARK = object()


def read_pickle(data: bytes, calls: Mapping[str, Call], persistent: Callable[[Any], Any]) -> Any:
    """Returns the object in a pickle.

    Args:
      data: The pickle.
      calls: Allowed callables by full name; they raise ValueError or TypeError for bad arguments.
      persistent: Builds an object from a persistent id.

    Raises:
      RefusedError: The pickle asks for another call, or for an operation that plain data do not
        need.
      ValueError: The pickle is damaged.
    """
    machine = _Machine(calls, persistent)
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return machine.pop()
            machine.do(opcode.name, argument)
    except RefusedError:
        raise
    except (
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(f"its pickle is damaged ({type(error).__name__}: {error})") from error
    raise ValueError("its pickle has no end")


class _Machine:
    """The stack, the marks on it and the memo."""

    def __init__(self, calls: Mapping[str, Call], persistent: Callable[[Any], Any]):
        self._calls, self._persistent = calls, persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("its pickle is damaged (a mark where a value should be)")
        return value

    def _to_mark(self) -> list[Any]:
        values = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _top(self, kind: type) -> Any:
        """The value on top, for the next operation to change."""
        if type(self._stack[-1]) is not kind:
            raise ValueError(f"its pickle is damaged (no {kind.__name__} where one should be)")
        return self._stack[-1]

    def do(self, name: str, argument: Any) -> None:
        push = self._stack.append
        if name in _VALUES:
            push(argument)
        elif name in _CONSTANTS:
            push(_CONSTANTS[name])
        elif name in _EMPTY:
            push(_EMPTY[name]())
        elif name in _SMALL_TUPLES:
            values = [self.pop() for _ in range(_SMALL_TUPLES[name])]
            push(tuple(values[::-1]))
        elif name == "MARK":
            push(_MARK)
        elif name in ("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID"):
            self._named(name, argument)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            value = self.pop()
            push(value)
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = value
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            push(self._memo[argument])
        elif name == "INST":
            raise RefusedError(argument.replace(" ", "."))
        elif name not in _IGNORED:
            self._fill(name)

    def _fill(self, name: str) -> None:
        """Runs an operation that builds a container."""
        if name in ("TUPLE", "LIST"):
            values = self._to_mark()
            self._stack.append(tuple(values) if name == "TUPLE" else values)
        elif name == "DICT":
            self._stack.append(_pairs(self._to_mark()))
        elif name == "APPEND":
            value = self.pop()
            self._top(list).append(value)
        elif name == "APPENDS":
            values = self._to_mark()
            self._top(list).extend(values)
        elif name == "ADDITEMS":
            values = self._to_mark()
            self._top(set).update(plain_keys(values))
        elif name == "SETITEM":
            value, key = self.pop(), self.pop()
            self._top(dict).update(_pairs([key, value]))
        elif name == "SETITEMS":
            values = self._to_mark()
            self._top(dict).update(_pairs(values))
        elif name == "POP":
            self._stack.pop()
        else:
            raise RefusedError(f"the operation {name}")

    def _named(self, name: str, argument: Any) -> None:
        """Runs an operation that in Python's unpickler imports, calls or sets attributes."""
        if name == "GLOBAL":
            self._push_global(*argument.split(" ", 1))
        elif name == "STACK_GLOBAL":
            attribute, module = self.pop(), self.pop()
            self._push_global(module, attribute)
        elif name == "REDUCE":
            arguments, called = self.pop(), self.pop()
            if type(called) is not Global or type(arguments) is not tuple:
                raise RefusedError("a call of something without a name")
            self._stack.append(self._calls[called.name](*arguments))
        elif name == "BUILD":
            # A state dict's `_metadata`: not needed, and untrusted files set no attributes.
            self.pop()
            self._top(dict)
        else:
            self._stack.append(self._persistent(self.pop()))

    def _push_global(self, module: str, attribute: str) -> None:
        name = f"{_OLD_NAMES.get(module, module)}.{attribute}"
        if name not in self._calls:
            raise RefusedError(name)
        self._stack.append(Global(name))


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(plain_keys(values[::2]), values[1::2], strict=True))


def plain_keys(keys: list[Any]) -> list[Any]:
    """Returns `keys`, all plain: hashing a tuple nested a million deep would crash Python."""
    if not all(isinstance(key, str | int | float | None) for key in keys):
        raise ValueError("its pickle has a key that is neither text nor a number")
    return keys
