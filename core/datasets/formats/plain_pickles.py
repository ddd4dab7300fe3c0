"""Read numbers, texts, containers and numeric arrays from a pickle without executing it.

Some public sensor graphs are pickles that Python 2 wrote, and a pickle is a program: loading it
runs whatever it names. Here its opcodes are read one by one (the standard library's ``pickletools``
says how each is encoded) and applied to a stack that knows lists, dicts and the way NumPy encodes
an array. Any other name, and any opcode that creates other objects, is refused. Writes no pickles.
"""

from __future__ import annotations

import io
import pickletools
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.datasets.formats.tables import unreadable
from core.errors import DatasetError

_CODES = {code.code.encode("latin-1"): code for code in pickletools.opcodes}
_MARK = object()
_REPR = re.compile(rb"""(['"])((?:[^\\]|\\[\\'"nrt]|\\x[0-9a-f]{2})*)\1\s*""")
_NUMBERS = re.compile(r"[<>=|]?[iuf][1248]")


@dataclass
class PickledArray:
    """An array of numbers; a pickle refers to it before it gives its values."""

    values: NDArray[Any] | None = None


@dataclass
class _Dtype:
    """The type of an array's elements and its byte order, as NumPy names them: ``f4``, ``<``."""

    code: str
    byte_order: str = "="

    def resolve(self) -> np.dtype[Any]:
        _require(bool(_NUMBERS.fullmatch(self.code)))
        return np.dtype(self.code).newbyteorder(self.byte_order)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Name:
    """A name that a pickle would import."""

    text: str


class _RefusedError(Exception):
    """A pickle asks for more than plain values; the message says for what."""


def read_plain_pickle(path: Path) -> Any:
    """Return the contents of a pickle of plain values; byte strings become latin-1 text.

    Numeric arrays become ``PickledArray``.

    Raises:
        DatasetError: missing, damaged, or with contents that need code to be executed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, "a pickle", error) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pickletools only warns of invalid escapes
            return _run(content)
    except _RefusedError as error:
        raise DatasetError(
            f"a pickle must hold numbers, texts and arrays of numbers only, but {path} asks for "
            f"{error}; nothing of it was run; get the file from where it is published, or give a "
            "CSV matrix"
        ) from error
    # The errors that a damaged pickle can cause on the stack.
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, Warning) as error:
        raise DatasetError(
            f"{path} must be a whole pickle, but it breaks off or makes no sense "
            f"({' '.join(str(error).split())[:80]}); get it again"
        ) from error


def _run(content: bytes) -> Any:
    machine = _Machine()
    for name, argument in _opcodes(io.BytesIO(content)):
        if name not in _OPCODES:
            raise _RefusedError(f"the operation {name}")
        _OPCODES[name](machine, argument)
    (result,) = machine.stack
    return result


def _opcodes(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    """Yield the opcodes up to the last, each with its argument."""
    while True:
        code = _CODES[stream.read(1)]
        if code.name == "STOP":
            return
        if code.name == "STRING":  # pickletools decodes these as ASCII only
            yield code.name, _quoted(stream.readline())
        else:
            yield code.name, code.arg.reader(stream) if code.arg else None


def _quoted(line: bytes) -> str:
    """Undo the quotes and escapes of Python 2's ``repr``."""
    quoted = _REPR.fullmatch(line)
    if quoted is None:
        raise ValueError("a text without its quotes or with an odd escape")
    return quoted[2].decode("unicode_escape")


class _Machine:
    """The stack and the memo that the opcodes of a pickle operate on."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            _require(place >= 0)
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def pop_tuple(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        _require(isinstance(target, list))
        target.extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        keys = values[::2]
        # No nested keys: hashing a million nested tuples would crash the process.
        _require(isinstance(target, dict) and all(isinstance(key, str | int) for key in keys))
        target.update(zip(keys, values[1::2], strict=True))

    def push_dict(self, values: list[Any]) -> None:
        self.push({})
        self.set_items(values)

    def name(self, text: str) -> None:
        if text != _ARRAY_CLASS and text not in _CALLS:
            raise _RefusedError(repr(text.replace(" ", ".")))
        self.push(_Name(text))

    def stack_name(self) -> None:
        self.pop_tuple(2)
        self.name(" ".join(self.pop()))

    def call(self) -> None:
        arguments, called = self.pop(), self.pop()
        _require(isinstance(called, _Name) and isinstance(arguments, tuple))
        if called.text not in _CALLS:
            raise _RefusedError(f"a call of {called.text.replace(' ', '.')!r}")
        self.push(_CALLS[called.text](*arguments))

    def build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        _require(isinstance(state, tuple))
        if isinstance(target, _Dtype):
            target.byte_order = state[1]
        else:
            _require(isinstance(target, PickledArray))
            _, shape, dtype, is_fortran, content = state
            target.values = _array(content, dtype, shape, "F" if is_fortran else "C")


def _new_array(of: _Name, _shape: Any, _code: Any) -> PickledArray:
    _require(of == _Name(_ARRAY_CLASS))
    return PickledArray()


def _new_dtype(code: str, _align: Any, _copy: Any) -> _Dtype:
    return _Dtype(code)


def _encode(text: str, encoding: str) -> bytes:
    _require(encoding == "latin1")
    return text.encode("latin-1")


def _array_of_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
    return PickledArray(_array(content, dtype, shape, order))


def _array(content: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    if isinstance(content, list):  # the encoding of arrays of objects
        raise _RefusedError("an array of objects")
    _require(isinstance(dtype, _Dtype) and isinstance(shape, tuple) and order in ("C", "F"))
    raw = content.encode("latin-1") if isinstance(content, str) else content
    return np.frombuffer(raw, dtype.resolve()).reshape(shape, order=order)


def _require(fits: bool) -> None:
    if not fits:
        raise ValueError("unexpected value")


_ARRAY_CLASS = "numpy ndarray"
_CALLS: Final[dict[str, Callable[..., Any]]] = {
    "numpy.core.multiarray _reconstruct": _new_array,
    "numpy._core.multiarray _reconstruct": _new_array,
    "numpy.core.numeric _frombuffer": _array_of_buffer,
    "numpy._core.numeric _frombuffer": _array_of_buffer,
    "numpy dtype": _new_dtype,
    "_codecs encode": _encode,
}
"""The functions that a pickled array names -> what is called here instead."""

_VALUES = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
)
_PUTS, _GETS = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")
_OPCODES: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    **dict.fromkeys(_VALUES.split(), _Machine.push),
    **dict.fromkeys(("PROTO", "FRAME"), lambda _machine, _argument: None),
    **dict.fromkeys(_PUTS, lambda machine, place: machine.memo.update({place: machine.stack[-1]})),
    **dict.fromkeys(_GETS, lambda machine, place: machine.push(machine.memo[place])),
    "MEMOIZE": lambda machine, _: machine.memo.update({len(machine.memo): machine.stack[-1]}),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": lambda machine, _: machine.push(_MARK),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "LIST": lambda machine, _: machine.push(machine.pop_to_mark()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "DICT": lambda machine, _: machine.push_dict(machine.pop_to_mark()),
    "TUPLE1": lambda machine, _: machine.pop_tuple(1),
    "TUPLE2": lambda machine, _: machine.pop_tuple(2),
    "TUPLE3": lambda machine, _: machine.pop_tuple(3),
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": lambda machine, _: machine.stack_name(),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
}
