"""Saves and loads the progress of running trials between reports, for progress bars; no decision depends on it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from chex.runtime.atomic_io import write_text
from search.trials.layout import STEPS


@dataclass(frozen=True)
class Step:
    """The progress of a trial."""

    share: float
    """The share of its steps that are done, in [0, 1]."""
    images: int
    """Training images seen so far."""
    left: float | None = None
    """Seconds until its end at the speed of its process so far; None while unknown."""


Steps = Mapping[int, Step]
"""The progress of each running trial, by number."""


def save_steps(folder: Path, steps: Steps) -> None:
    """Writes STEPS into a search's `folder`, for `chex-search status`."""
    write_text(folder / STEPS, json.dumps({number: asdict(step) for number, step in steps.items()}))


def load_steps(folder: Path) -> dict[int, Step]:
    """Returns what `save_steps` wrote last; empty if the file is missing or cannot be read."""
    try:
        content = json.loads((folder / STEPS).read_text(encoding="utf-8"))
        return {int(number): Step(**step) for number, step in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
