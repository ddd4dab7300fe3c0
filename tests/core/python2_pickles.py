"""Pickles of a sensor graph, opcode by opcode as Python 2 wrote them."""

from __future__ import annotations

import struct

import numpy as np

ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n"
NDARRAY, DTYPE = b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"


def graph_pickle(ids: list[str], weights: np.ndarray, protocol: int) -> bytes:
    """``[ids, {id: position}, weights]`` as ``pickle.dumps`` of Python 2 wrote it."""
    listed = b"".join(
        text(sensor.encode(), protocol) + put(index, protocol) + b"a"
        for index, sensor in enumerate(ids)
    )
    positions = b"".join(
        get(index, protocol) + number(index, protocol) + b"s" for index in range(len(ids))
    )
    begun, mapping = (b"(l", b"(d") if protocol == 0 else (b"]", b"}")
    return b"".join(
        [
            b"\x80\x02" if protocol == 2 else b"",
            *(begun, begun, listed, b"a"),
            *(mapping, positions, b"a"),
            *(array(weights, protocol), b"a."),
        ]
    )


def array(values: np.ndarray, protocol: int) -> bytes:
    sizes = b"".join(number(size, protocol) for size in values.shape)
    numbers = {value: number(value, protocol) for value in (-1, 0, 1, 3)}
    dtype = (
        DTYPE + b"(" + text(values.dtype.str[1:].encode(), protocol) + numbers[0] + numbers[1]
        + b"tR(" + numbers[3] + text(b"<", protocol) + b"NNN" + 2 * numbers[-1] + numbers[0] + b"tb"
    )  # fmt: skip
    fortran = b"\x89" if protocol == 2 else b"I00\n"
    return (
        ARRAY + b"(" + NDARRAY + b"(" + numbers[0] + b"t" + text(b"b", protocol) + b"tR("
        + numbers[1] + b"(" + sizes + b"t" + dtype + fortran
        + text(values.tobytes(), protocol) + b"tb"
    )  # fmt: skip


def text(content: bytes, protocol: int) -> bytes:
    """A byte string: with quotes and escapes, or with its length in front."""
    if protocol == 0:
        return b"S" + repr(content)[1:].encode() + b"\n"
    short = len(content) < 256
    length = bytes([len(content)]) if short else struct.pack("<i", len(content))
    return (b"U" if short else b"T") + length + content


def number(value: int, protocol: int) -> bytes:
    if protocol == 0:
        return b"I%d\n" % value
    return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)


def put(place: int, protocol: int) -> bytes:
    return b"p%d\n" % place if protocol == 0 else b"q" + bytes([place])


def get(place: int, protocol: int) -> bytes:
    return b"g%d\n" % place if protocol == 0 else b"h" + bytes([place])
