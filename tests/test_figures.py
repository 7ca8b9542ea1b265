"""Pictures beside one another, and apart again."""

import re

import numpy as np
import pytest

from ganlib.apply import tile, untile


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("columns", [1, 2, 6])
def test_untile_undoes_tile(columns, channels):
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, channels), dtype="uint8")
    apart = untile(tile(images, columns), 4)
    assert apart.dtype == np.uint8
    np.testing.assert_array_equal(apart, images)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((8, 6, 3), 4), ((6, 8, 3), 4), ((8, 8), 4), ((1, 8, 8, 3), 4), ((8, 8, 3), 0)],
)
def test_untile_refuses_what_does_not_divide(shape, size):
    with pytest.raises(ValueError, match=rf"Received: shape {re.escape(str(shape))}"):
        untile(np.zeros(shape), size)
