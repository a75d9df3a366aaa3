"""A pickle as plain values: read, never executed.

Python's own unpickler calls what a pickle names. This one calls nothing: a name becomes a `Named`, a call becomes a
`Built` that says what would have been called with what, and only names of a list that the caller gives are accepted.
What they mean is decided by whoever reads the values, e.g. `mixllm.logs.pickled_frame`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from mixllm.errors import LogError

__all__ = ["Built", "Named", "parse_pickle"]

MAX_STEPS: Final = 20_000_000
"""Most opcodes; a RouterBench table has about two million."""
MAX_OBJECTS: Final = 5_000_000
"""Most containers, tuples and calls."""
_MAX_INTEGER_BYTES = 16
_PROTOCOLS = range(2, 6)
_PYTHON_2_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_MAX_SHOWN_CHARS = 100


class Named:
    """A name that the pickle refers to, as ``module name``; nothing is imported."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Built:
    """What a call would have made: the name that was to be called, its arguments, and the state set afterwards."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        self.name = name
        self.args = args
        self.state: Any = None


class _FaultError(Exception):
    """What is wrong with the pickle, without the file's name."""


def parse_pickle(
    data: bytes,
    *,
    names: frozenset[str],
    file: object,
    max_steps: int = MAX_STEPS,
    max_objects: int = MAX_OBJECTS,
) -> Any:
    r"""Return what a pickle of protocol 2 to 5 holds; nothing in it is imported, called or set.

    Parameters
    ----------
    data
        The pickle.
    names
        The names, ``module name``, that it may refer to.
    file
        What errors call it.
    max_steps, max_objects
        Most opcodes, and most containers, tuples and calls.

    Returns
    -------
    object
        None, bool, int, float, str, bytes, lists, tuples, dicts with str keys, `Named` and `Built`. Lists and dicts
        may hold themselves.

    Raises
    ------
    LogError
        Where it refers to another name, is damaged, is too large, or uses what no table of numbers and texts needs.

    Examples
    --------
    >>> parse_pickle(b"\x80\x04]\x94(K\x01\x88e.", names=frozenset(), file="numbers.pkl")
    [1, True]
    >>> parse_pickle(b"cos\nsystem\n(S'ls'\ntR.", names=frozenset(), file="evil.pkl")
    Traceback (most recent call last):
    mixllm.errors.LogError: evil.pkl: it is no pickle of protocol 2 to 5. Write it again with one, or as parquet.
    """
    if len(data) < 2 or data[0] != _PROTO or data[1] not in _PROTOCOLS:
        raise LogError(f"{file}: it is no pickle of protocol 2 to 5. Write it again with one, or as parquet.")
    machine = _Machine(data, names=names, max_objects=max_objects)
    try:
        return machine.run(max_steps)
    except _FaultError as fault:
        raise LogError(
            f"{file}: {fault} (byte {machine.position}). It was not executed. Use the published file, or parquet."
        ) from None
    except (IndexError, struct.error):
        raise LogError(
            f"{file}: the pickle is damaged or cut off (byte {machine.position}). Fetch the file again."
        ) from None


class _Machine:
    """The stack, the memo and the bytes."""

    def __init__(self, data: bytes, *, names: frozenset[str], max_objects: int) -> None:
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.names = names
        self.objects_left = max_objects

    def run(self, max_steps: int) -> Any:
        data, operations = self.data, _OPERATIONS
        for _ in range(max_steps):
            code = data[self.position]
            self.position += 1
            if code == _STOP:
                return self.only()
            operation = operations.get(code)
            if operation is None:
                raise _FaultError(f"it uses opcode {code:#04x}, which no table needs")
            operation(self)
        raise _FaultError(f"it has more than {max_steps} steps")

    def only(self) -> Any:
        if len(self.stack) != 1 or self.marks:
            raise _FaultError("it does not end with one value")
        return self.stack[0]

    def take(self, length: int) -> bytes:
        start, end = self.position, self.position + length
        if end > len(self.data):
            raise IndexError
        self.position = end
        return self.data[start:end]

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "little")

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + 1000)
        if end < 0:
            raise IndexError
        text = self.take(end - self.position)
        self.position += 1
        return text.decode("utf-8", "replace")

    def pop(self) -> Any:
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def make(self, value: Any) -> None:
        self.objects_left -= 1
        if self.objects_left < 0:
            raise _FaultError("it holds too many objects")
        self.stack.append(value)

    def refer(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise _FaultError("it refers to a name that is no text")
        full = f"{_PYTHON_2_MODULES.get(module, module)} {name}"
        if full not in self.names:
            shown = full.replace(" ", ".", 1)[:_MAX_SHOWN_CHARS]
            raise _FaultError(f"it refers to {shown!r}, which no table needs; such a pickle may run anything")
        self.make(Named(full))

    def call(self, args: Any, called: Any) -> None:
        if not isinstance(called, Named):
            raise _FaultError("it calls what is no name")
        if not isinstance(args, tuple):
            raise _FaultError("it calls a name with what are no arguments")
        self.make(Built(called.name, args))


def _push(value: Any) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value)


def _text(length: int) -> Callable[[_Machine], None]:
    def push(machine: _Machine) -> None:
        raw = machine.take(machine.number(length))
        try:
            text = raw.decode()
        except UnicodeDecodeError:  # Lone surrogates, which cannot be written again; nor can damaged bytes.
            text = raw.decode("utf-8", "replace")
        machine.stack.append(text)

    return push


def _bytes(length: int) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(machine.take(machine.number(length)))


def _integer(length: int, *, signed: bool = False) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(int.from_bytes(machine.take(length), "little", signed=signed))


def _long(length: int) -> Callable[[_Machine], None]:
    def push(machine: _Machine) -> None:
        size = machine.number(length)
        if size > _MAX_INTEGER_BYTES:
            raise _FaultError(f"it holds an integer of {size} bytes")
        machine.stack.append(int.from_bytes(machine.take(size), "little", signed=True))

    return push


def _float(machine: _Machine) -> None:
    machine.stack.append(struct.unpack(">d", machine.take(8))[0])


def _tuple(length: int) -> Callable[[_Machine], None]:
    def push(machine: _Machine) -> None:
        stack = machine.stack
        if len(stack) < length:
            raise IndexError
        items = tuple(stack[len(stack) - length :])
        del stack[len(stack) - length :]
        machine.make(items)

    return push


def _mark(machine: _Machine) -> None:
    machine.objects_left -= 1
    if machine.objects_left < 0:
        raise _FaultError("it holds too many objects")
    machine.marks.append(machine.stack)
    machine.stack = []


def _marked_tuple(machine: _Machine) -> None:
    machine.make(tuple(machine.pop_mark()))


def _duplicate(machine: _Machine) -> None:
    machine.stack.append(machine.stack[-1])


def _discard(machine: _Machine) -> None:
    machine.pop()


def _discard_marked(machine: _Machine) -> None:
    machine.pop_mark()


def _append(machine: _Machine) -> None:
    item = machine.pop()
    _container(machine, list).append(item)


def _extend(machine: _Machine) -> None:
    items = machine.pop_mark()
    _container(machine, list).extend(items)


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _put_items(machine, [key, value])


def _set_items(machine: _Machine) -> None:
    _put_items(machine, machine.pop_mark())


def _put_items(machine: _Machine, items: list[Any]) -> None:
    target = _container(machine, dict)
    if len(items) % 2:
        raise _FaultError("it has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Nested tuples as keys could take for ever to hash.
        if not isinstance(key, str):
            raise _FaultError("it has a key that is no text")
        target[key] = value


def _container(machine: _Machine, kind: type) -> Any:
    target = machine.stack[-1]
    if type(target) is not kind:
        raise _FaultError(f"it adds to what is no {kind.__name__}")
    return target


def _get(length: int) -> Callable[[_Machine], None]:
    def push(machine: _Machine) -> None:
        index = machine.number(length)
        if index not in machine.memo:
            raise _FaultError("it recalls what it did not store")
        machine.stack.append(machine.memo[index])

    return push


def _put(length: int) -> Callable[[_Machine], None]:
    def store(machine: _Machine) -> None:
        machine.memo[machine.number(length)] = machine.stack[-1]

    return store


def _memoize(machine: _Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _global(machine: _Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.refer(module, name)


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.refer(module, name)


def _call(machine: _Machine) -> None:
    args, called = machine.pop(), machine.pop()
    machine.call(args, called)


def _build(machine: _Machine) -> None:
    state = machine.pop()
    target = machine.stack[-1]
    if not isinstance(target, Built) or target.state is not None:
        raise _FaultError("it sets the state of what has none")
    target.state = state


def _frame(machine: _Machine) -> None:
    length = machine.number(8)
    if machine.position + length > len(machine.data):
        raise IndexError


def _protocol(machine: _Machine) -> None:
    if machine.number(1) not in _PROTOCOLS:
        raise _FaultError("it is of another protocol than 2 to 5")


_STOP = ord(".")
_PROTO = 0x80
_OPERATIONS: dict[int, Callable[[_Machine], None]] = {
    _PROTO: _protocol,
    0x95: _frame,
    ord("N"): _push(None),
    0x88: _push(value=True),
    0x89: _push(value=False),
    ord("J"): _integer(4, signed=True),
    ord("K"): _integer(1),
    ord("M"): _integer(2),
    0x8A: _long(1),
    0x8B: _long(4),
    ord("G"): _float,
    ord("X"): _text(4),
    0x8C: _text(1),
    0x8D: _text(8),
    ord("B"): _bytes(4),
    ord("C"): _bytes(1),
    0x8E: _bytes(8),
    0x96: _bytes(8),
    ord("]"): lambda machine: machine.make([]),
    ord("}"): lambda machine: machine.make({}),
    ord(")"): _push(()),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("("): _mark,
    ord("t"): _marked_tuple,
    ord("0"): _discard,
    ord("1"): _discard_marked,
    ord("2"): _duplicate,
    ord("a"): _append,
    ord("e"): _extend,
    ord("s"): _set_item,
    ord("u"): _set_items,
    ord("h"): _get(1),
    ord("j"): _get(4),
    ord("q"): _put(1),
    ord("r"): _put(4),
    0x94: _memoize,
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): _call,
    0x81: _call,
    ord("b"): _build,
}
"""NEWOBJ (0x81) is the same as REDUCE here, since nothing is called."""
