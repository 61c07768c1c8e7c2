"""Permuting by bricks: the same elements in the same order as numpy's own transpose."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit.conversion import bricks
from portkit.conversion.bricks import permuted_slabs


def permuted(array, split, order):
    slabs = [slab.copy().ravel() for slab in permuted_slabs(array, (split, order))]
    return np.concatenate(slabs)


@pytest.mark.parametrize(
    ("split", "order"),
    [
        ((9, 70, 130), (2, 1, 0)),
        ((300, 170), (1, 0)),
        ((49, 33, 140), (2, 1, 0)),
        ((3, 5, 7, 130), (3, 1, 0, 2)),
        ((6, 50, 4), (1, 0, 2)),
        ((1,), (0,)),
    ],
)
@pytest.mark.parametrize("slab", [1, 1 << 12, 1 << 22])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.complex64])
def test_bricks_permute_as_numpy_does(monkeypatch, split, order, slab, dtype):
    monkeypatch.setattr(bricks, "SLAB", slab)
    monkeypatch.setattr(bricks, "_FEWEST_ROWS", 1 if slab == 1 else 16)
    array = (np.arange(np.prod(split)) % 251).astype(dtype)
    want = array.reshape(split).transpose(order).ravel()
    assert np.array_equal(permuted(array, split, order), want)


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4).flatmap(
        lambda s: st.tuples(st.just(tuple(s)), st.permutations(range(len(s))))
    )
)
def test_any_permutation_of_any_shape(case):
    split, order = case
    array = np.arange(np.prod(split), dtype=np.uint32)
    want = array.reshape(split).transpose(order).ravel()
    assert np.array_equal(permuted(array, split, tuple(order)), want)


def test_memory_stays_at_a_few_slabs():
    import tracemalloc

    array = np.zeros((49, 64, 2048), np.float32)
    tracemalloc.start()
    for _ in permuted_slabs(array, ((49, 64, 2048), (2, 1, 0))):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes
    assert peak < (bricks.AHEAD + 2) * bricks.SLAB * 1.5
