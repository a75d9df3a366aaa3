from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixllm.errors import LogError
from mixllm.logs.pickle_values import Built, Named, parse_pickle

NAMES = frozenset({"builtins slice", "numpy dtype"})


def parse(data: bytes, **bounds: int) -> Any:
    return parse_pickle(data, names=NAMES, file="table.pkl", **bounds)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**100), 2**100)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner) | st.tuples(inner),
)


@settings(max_examples=60)
@given(value=plain, protocol=st.integers(3, 5))
def test_plain_values_are_read_as_pickle_reads_them(value: Any, protocol: int) -> None:
    assert parse(pickle.dumps(value, protocol)) == value


def test_long_texts_bytes_and_shared_values() -> None:
    shared = ["x" * 300, b"y" * 300, bytearray(b"z"), 70_000, -5, 300]
    read = parse(pickle.dumps([shared, shared] + [None] * 3000, 5))
    assert read[0] is read[1]
    assert read[0] == shared
    assert len(read) == 3002


def test_names_and_calls_are_told_and_not_done() -> None:
    read = parse(pickle.dumps(slice(1, 2, 3), 2))
    assert isinstance(read, Built)
    assert (read.name, read.args, read.state) == ("builtins slice", (1, 2, 3), None)
    assert isinstance(parse(pickle.dumps(slice, 4)), Named)


def test_a_list_may_hold_itself() -> None:
    loop: list[Any] = []
    loop.append(loop)
    read = parse(pickle.dumps(loop, 4))
    assert read[0] is read


def test_a_lone_surrogate_is_replaced() -> None:
    text = parse(pickle.dumps("a\ud800b", 4))
    assert text.encode()
    assert text[0] + text[-1] == "ab"


class _Runs:
    """Touches a file when it is unpickled by Python."""

    def __init__(self, how: Any, *args: Any) -> None:
        self.how = (how, args)

    def __reduce__(self) -> Any:
        return self.how


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("how", "shown"), [(os.system, r"(posix|nt)\.system"), (eval, r"builtins\.eval"), (exec, "exec"), (open, "open")]
)
def test_nothing_is_executed(tmp_path: Path, how: Any, shown: str, protocol: int) -> None:
    touched = tmp_path / "touched"
    order = {os.system: f"touch {touched}", open: str(touched)}.get(how, f"open({str(touched)!r}, 'w')")
    args = (order, "w") if how is open else (order,)
    for payload in (_Runs(how, *args), [1, {"deep": (_Runs(how, *args),)}]):
        with pytest.raises(LogError, match=rf"table\.pkl: it refers to '.*{shown}'.*It was not executed"):
            parse(pickle.dumps(payload, protocol))
    assert not touched.exists()


def test_nested_calls_are_refused_too() -> None:
    with pytest.raises(LogError, match="getattr"):
        parse(pickle.dumps(_Runs(getattr, _Runs(__import__, "os"), "system"), 4))
    with pytest.raises(LogError, match=r"'copyreg\._reconstructor'"):
        parse(code(b"ccopy_reg\n_reconstructor\n)R."))
    with pytest.raises(LogError, match=r"'builtins\.slice\.__init__'"):
        parse(code(b"cbuiltins\nslice.__init__\n)R."))


def code(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no pickle of protocol 2 to 5"),
        (b"\x80", "no pickle of protocol 2 to 5"),
        (b"\x80\x06N.", "no pickle of protocol 2 to 5"),
        (pickle.dumps([1], 0), "no pickle of protocol 2 to 5"),
        (pickle.dumps([1], 1), "no pickle of protocol 2 to 5"),
        (code(b"N"), "damaged or cut off"),
        (code(b"\x8d" + b"\xff" * 8), "damaged or cut off"),
        (code(b"\x8e" + struct.pack("<Q", 2**62)), "damaged or cut off"),
        (code(b"\x95" + struct.pack("<Q", 2**40), b"N."), "damaged or cut off"),
        (code(b"."), "does not end with one value"),
        (code(b"NN."), "does not end with one value"),
        (code(b"(N."), "does not end with one value"),
        (code(b"h\x05."), "recalls what it did not store"),
        (code(b"j\xff\xff\xff\x7f."), "recalls what it did not store"),
        (code(b"q\x00."), "damaged"),
        (code(b"\x85."), "damaged"),
        (code(b"R."), "damaged"),
        (code(b"NN\x81."), "calls what is no name"),
        (code(b"cbuiltins\nslice\nNR."), "with what are no arguments"),
        (code(b"cbuiltins\nslice\n}b."), "sets the state of what has none"),
        (code(b"cbuiltins\nslice\n)R}b}b."), "sets the state of what has none"),
        (code(b"Na."), "damaged|adds to"),
        (code(b"}Na."), "adds to what is no list"),
        (code(b"]NNs."), "adds to what is no dict"),
        (code(b"}NNs."), "a key that is no text"),
        (code(b"}(Nu."), "a key without a value"),
        (code(b"K\x01K\x02\x93."), "a name that is no text"),
        (code(b"Pid\n."), "uses opcode 0x50"),
        (code(b"NQ."), "uses opcode 0x51"),
        (code(b"\x82\x01."), "uses opcode 0x82"),
        (code(b"\x97."), "uses opcode 0x97"),
        (code(b"(S'x'\n."), "uses opcode 0x53"),
        (code(b"\x8b" + struct.pack("<i", 10**6)), "an integer of 1000000 bytes"),
        (code(b"c" + b"a" * 5000), "damaged"),
    ],
)
def test_damaged_and_strange_pickles(data: bytes, words: str) -> None:
    with pytest.raises(LogError, match=words):
        parse(data)


def test_bombs_are_bounded() -> None:
    with pytest.raises(LogError, match="too many objects"):
        parse(code(b"]" * 2000), max_objects=1000)
    with pytest.raises(LogError, match="too many objects"):
        parse(code(b"(" * 2000), max_objects=1000)
    with pytest.raises(LogError, match="more than 1000 steps"):
        parse(code(b"N0" * 2000), max_steps=1000)
    # A memo index of four billion is a dict's key here, not the length of a table.
    assert parse(code(b"Kxr\xff\xff\xff\xff0j\xff\xff\xff\xff.")) == ord("x")
    # Each level holds the one below twice: 2^60 items, if anybody went through them.
    doubled = parse(code(b")", b"2\x86" * 60, b"."))
    assert isinstance(doubled, tuple)
    with pytest.raises(LogError, match="a key that is no text"):
        parse(code(b"})", b"2\x86" * 60, b"Ns."))


@settings(max_examples=200)
@given(data=st.binary(max_size=200), protocol=st.integers(2, 5))
def test_random_bytes_are_refused_or_read(data: bytes, protocol: int) -> None:
    try:
        value = parse(bytes([0x80, protocol]) + data)
    except LogError:
        return
    assert value is None or isinstance(value, (bool, int, float, str, bytes, list, tuple, dict, Named, Built))
