"""Values of variables in a file: exact, complete, and refused where they don't fit."""

import os

import keras
import numpy as np
import pytest

from ganlib.backends import variables as weights

SHAPES = [(3, 2), (2,), ()]


def variables(shapes=SHAPES, seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    return [keras.Variable(rng.normal(size=shape), dtype=dtype) for shape in shapes]


def values(found):
    return [np.asarray(keras.ops.convert_to_numpy(v)) for v in found]


def assert_equal(a, b):
    for x, y in zip(values(a), values(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.backend
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "uint32", "bool"])
def test_round_trip(tmp_path, dtype):
    saved = [keras.Variable(np.arange(6).reshape(3, 2), dtype=dtype, trainable=False)]
    saved += [] if dtype in ("int32", "uint32", "bool") else variables(seed=1, dtype=dtype)
    path = tmp_path / "any.npz"
    weights.save(path, saved)
    others = [keras.Variable(np.zeros(v.shape), dtype=dtype, trainable=False) for v in saved]
    weights.load(path, others)
    assert {v.dtype for v in others} == {dtype}
    assert_equal(saved, others)


def test_a_large_state_keeps_its_digits(tmp_path):
    """Of dropout: a float would round it."""
    state = keras.Variable(np.array([2**32 - 1, 2**31 + 1], "uint32"), dtype="uint32")
    weights.save(tmp_path / "a.npz", [state])
    other = keras.Variable(np.zeros(2, "uint32"), dtype="uint32")
    weights.load(tmp_path / "a.npz", [other])
    assert_equal([state], [other])


def test_more_than_ten_keep_their_order(tmp_path):
    saved = variables([(1,)] * 12)
    weights.save(tmp_path / "a.npz", saved)
    others = variables([(1,)] * 12, seed=1)
    weights.load(tmp_path / "a.npz", others)
    assert_equal(saved, others)


@pytest.mark.parametrize(
    "shapes",
    [SHAPES[:2], [*SHAPES, (1,)], [(3, 2), (2,), (1,)], [(2, 3), (2,), ()], SHAPES[::-1], []],
)
def test_other_shapes_change_nothing(tmp_path, shapes):
    weights.save(tmp_path / "a.npz", variables())
    others = variables(shapes, seed=1)
    before = [value.copy() for value in values(others)]
    with pytest.raises(ValueError, match=r"holds weights of another model.*3 arrays for"):
        weights.load(tmp_path / "a.npz", others)
    for a, b in zip(before, values(others), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_that_was_cut(tmp_path, share):
    path = tmp_path / "a.npz"
    weights.save(path, variables())
    os.truncate(path, int(share * os.path.getsize(path)))
    others = variables(seed=1)
    with pytest.raises(ValueError, match="can't be read as weights"):
        weights.load(path, others)
    assert_equal(others, variables(seed=1))


@pytest.mark.parametrize("content", [b"weights", b"\x93NUMPY\x01\x00v\x00{"])
def test_a_file_that_is_none(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"can't be read as weights"):
        weights.load(tmp_path / "a.npz", variables())


def test_an_archive_of_other_names(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="can't be read as weights"):
        weights.load(tmp_path / "a.npz", variables())
