"""One seed, many independent streams: whoever draws names its purpose, so that no draw moves another."""

import zlib

import numpy as np


def stream(seed: int, purpose: str, *keys: int) -> np.random.Generator:
    """A generator for `purpose` that depends on nothing but its arguments; `keys` tell epochs or steps apart."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *keys])


def stream_seed(seed: int, purpose: str, *keys: int) -> int:
    """A 63-bit seed for libraries that take a number, as independent as `stream`."""
    return int(stream(seed, purpose, *keys).integers(2**63))
