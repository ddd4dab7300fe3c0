"""Pickles that are read without being run."""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.datasets.formats.plain_pickles import PickledArray, read_plain_pickle
from core.errors import DatasetError
from tests.core.python2_pickles import ARRAY, DTYPE, NDARRAY, graph_pickle

IDS = ["773869", "767541", "it's"]
# All 256 bytes occur, quotes, line ends and backslashes too.
WEIGHTS = np.frombuffer(bytes(range(256)) * 9, dtype="<u4").reshape(24, 24).astype("<f4")
SMALL = graph_pickle(["a", "b"], np.eye(2, dtype="<f4"), 0)


class Creates:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def read(tmp_path: Path):
    def write_and_read(content: bytes) -> Any:
        path = tmp_path / "graph.pkl"
        path.write_bytes(content)
        return read_plain_pickle(path)

    return write_and_read


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_a_graph_that_python_2_pickled(read, protocol: int) -> None:
    content = graph_pickle(IDS, WEIGHTS, protocol)
    ids, positions, weights = read(content)
    assert ids == IDS
    assert positions == {"773869": 0, "767541": 1, "it's": 2}
    assert weights.values.dtype == np.float32
    np.testing.assert_array_equal(weights.values, WEIGHTS)
    # The same bytes mean the same to what runs pickles.
    assert pickle.loads(content, encoding="latin1")[:2] == [IDS, positions]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_python_3_pickles(read, protocol: int) -> None:
    plain = [["ä", ""], {"one": 1, 2: ()}, (1.5, -(2**70), None, True), (1,), (1, "2")]
    found = read(pickle.dumps(plain, protocol=protocol))
    assert found == plain
    matrix = np.arange(12, dtype=">i8").reshape(3, 4)
    for array in (matrix, np.asfortranarray(matrix), matrix[:, ::2], np.float64([[0.5]])):
        (answer,) = read(pickle.dumps([array], protocol=protocol))
        assert isinstance(answer, PickledArray)
        np.testing.assert_array_equal(answer.values, array)


def test_what_is_mentioned_twice_is_one_thing(read) -> None:
    ids = ["a"]
    first, second = read(pickle.dumps([ids, ids]))
    assert first is second


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_make_a_folder_makes_none(read, tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    content = pickle.dumps([IDS, Creates(made)], protocol=protocol)
    with pytest.raises(DatasetError, match=r"asks for '(posix|nt)\.mkdir'; nothing of it was run"):
        read(content)
    assert not made.exists()
    pickle.loads(content)  # it would have
    assert made.is_dir()


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "'os.system'"),
        (b"(S'true'\nios\nsystem\n.", "the operation INST"),
        (b"(cos\nsystem\nS'true'\no.", "'os.system'"),
        (b"\x80\x02c__builtin__\neval\nU\x011\x85R.", "'__builtin__.eval'"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "the operation NEWOBJ"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.", "'posix.system'"),
        (b"cnumpy\nload\n(S'x'\ntR.", "'numpy.load'"),
        (b"cnumpy.core.multiarray\nscalar\n.", "'numpy.core.multiarray.scalar'"),
        (NDARRAY + b"((I9\ntt" + b"R.", "a call of 'numpy.ndarray'"),
        (b"Psomewhere\n.", "the operation PERSID"),
        (b"\x80\x02\x82\x01.", "the operation EXT1"),
        (pickle.dumps({1, 2}, protocol=4), "the operation EMPTY_SET"),
        (pickle.dumps(np.array(["a", None]), protocol=2), "an array of objects"),
    ],
)
def test_whatever_is_no_plain_value_is_refused(read, content: bytes, refused: str) -> None:
    with pytest.raises(DatasetError, match="numbers, texts and arrays") as caught:
        read(content)
    assert f"asks for {refused}; nothing of it was run" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"I1\nI2\n.",
        b"S'open\n.",
        b"S\n.",
        b"]I1\n.",
        b"(l(I1\nd.",
        b"h\x07.",
        b"I1\ns.",
        b"(t(ta.",
        b"}((ttI1\ns.",  # a key that is no text
        ARRAY + b"(I1\nI2\nI3\ntR.",
        DTYPE + b"(S'O8'\nI0\nI1\ntRI5\nb.",
        SMALL.replace(b"S'f4'", b"S'O8'"),
        SMALL.replace(b"S'f4'", b"S'f8'"),
        SMALL.replace(b"I2\nI2\n", b"I2\nI3\n"),
        SMALL.replace(b"S'<'", b"S'!'"),
        SMALL.replace(b"I2\nI2\n", b"I2\nS'2'\n"),
        b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
    ],
)
def test_a_pickle_that_makes_no_sense_gives_one_line(read, content: bytes) -> None:
    with pytest.raises(DatasetError, match="must be a whole pickle") as caught:
        read(content)
    assert "\n" not in str(caught.value)


def test_wherever_a_pickle_breaks_off(read) -> None:
    assert len(read(SMALL)) == 3
    for end in range(0, len(SMALL) - 1, 3):
        with pytest.raises(DatasetError, match="must be a whole pickle"):
            read(SMALL[:end])


@given(place=st.integers(0, len(SMALL) - 1), byte=st.integers(0, 255))
@example(place=41, byte=ord("\\"))  # an escape that makes no sense
def test_no_byte_makes_it_fail_otherwise(tmp_path_factory, place: int, byte: int) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.pkl"
    path.write_bytes(SMALL[:place] + bytes([byte]) + SMALL[place + 1 :])
    # Some bytes make another graph, which is fine.
    with suppress(DatasetError):
        read_plain_pickle(path)


def test_a_missing_pickle(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="must be a pickle, but: No such file"):
        read_plain_pickle(tmp_path / "none.pkl")
