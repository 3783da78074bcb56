"""Independent random number streams from one seed, one for each purpose, so that draws do not affect each other."""

import zlib

import numpy as np


def rng_for(seed: int, purpose: str, *keys: int) -> np.random.Generator:
    """Returns a generator for `purpose` that depends only on the arguments; `keys` distinguish epochs or steps."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *keys])


def seed_for(seed: int, purpose: str, *keys: int) -> int:
    """Returns a 63-bit seed for a library that takes a number, as independent as the streams of `rng_for`."""
    return int(rng_for(seed, purpose, *keys).integers(2**63))
