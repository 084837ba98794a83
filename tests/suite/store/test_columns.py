import json
import math
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.errors import StoreError
from suite.store.session_rows import FLOAT, INTEGER, Columns, pack, unpack

WHOLE = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30)
REAL = st.lists(st.floats(allow_nan=False), max_size=30)


@settings(deadline=None, max_examples=100)
@given(WHOLE, REAL)
def test_columns_come_back_exactly(whole, real):
    packed = pack({"a": (INTEGER, whole), "b": (FLOAT, real)})
    assert unpack(packed) == {"a": whole, "b": real}


def test_nan_comes_back_as_nan():
    assert math.isnan(unpack(pack({"x": (FLOAT, [math.nan])}))["x"][0])


def test_the_bytes_are_little_endian_columns_one_after_the_other():
    packed = pack({"t_ns": (INTEGER, [1, -2]), "value": (FLOAT, [0.5])})
    assert zlib.decompress(packed.data) == struct.pack("<qqd", 1, -2, 0.5)
    assert json.loads(packed.layout) == [["t_ns", "i8", 2], ["value", "f8", 1]]


GOOD = pack({"a": (INTEGER, [1, 2, 3])})


@pytest.mark.parametrize(
    "damaged",
    [
        Columns(GOOD.layout, GOOD.data[:-3][:8]),
        Columns(GOOD.layout, b"not zlib"),
        Columns(GOOD.layout, zlib.compress(bytes(16))),
        Columns(GOOD.layout, zlib.compress(bytes(32))),
        Columns(GOOD.layout, zlib.compress(bytes(10_000_000))),
        Columns('[["a", "i8", -3]]', GOOD.data),
        Columns('[["a", "O", 3]]', GOOD.data),
        Columns('[["a", "i8"]]', GOOD.data),
        Columns("{", GOOD.data),
        Columns("7", GOOD.data),
    ],
)
def test_damaged_columns_are_one_sentence(damaged):
    with pytest.raises(StoreError, match="runs/ still ha"):
        unpack(damaged)
