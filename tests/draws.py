"""Random numbers for tests: which tests ran before in the same process has no say in them."""

import random
import sys
import zlib

import numpy as np

# What a file draws from it while it is imported depends on the files before it, and must be of no
# consequence.
RNG = np.random.default_rng(0)


def seed(name):
    """Every source of random numbers goes by the name of the test or fixture that draws."""
    number = zlib.crc32(name.encode())
    random.seed(number)
    np.random.seed(number)
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(number)
    RNG.bit_generator.state = np.random.default_rng(number).bit_generator.state
