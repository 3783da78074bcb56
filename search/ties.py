"""Which trials a search does not tell from its best one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ties:
    """The trials of which the data do not exclude, at a level of 5 %, that each is the best of all."""

    trials: tuple[int, ...]
    """Numbers, with the winner's, best first."""
    of: int
    """Trials that were compared."""
    cheapest: int
    """The one of them that saw the fewest training images; of equals the one with the smaller backbone."""
    images: int
    """Training images that the cheapest saw."""
    backbone: str
    """The cheapest's backbone; empty where the search does not vary it."""
