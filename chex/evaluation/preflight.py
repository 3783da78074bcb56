"""Checks of `chex evaluate` and `chex predict` that need no torch."""

from collections.abc import Sequence
from pathlib import Path

from chex.errors import InputError
from chex.runtime.output_folder import check_claim, check_writable
from chex.schema.labels import OBSERVATIONS

PATH, CALLED = "path", " called"
"""The first column of the CSV of `chex predict`, and the end of the names of the columns with yes or no."""


def check_weights_path(path: Path) -> None:
    """Raises InputError unless `path` exists. `load_bundle` checks what it contains."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give a best.safetensors, or a folder of chex-search export")


def check_outputs(out: Path | None, overlays: Path | None, drawn: Sequence[str] | None) -> None:
    """Raises InputError if the CSV `out` or the folder `overlays` cannot be written, or if `drawn` lacks `overlays`."""
    if out and out.is_dir():
        raise InputError(
            f"--out {out}: is a folder and the CSV needs a file; give for example --out {out / 'predicted.csv'}"
        )
    if out:
        check_writable(out.parent, f"--out {out}")
    if out and out.exists() and not _is_table(out):
        raise InputError(
            f"--out {out}: is a file that chex predict did not write, so it is not overwritten; give another"
        )
    if overlays:
        check_claim(overlays, "overlays", option="--grad-cam")
    if drawn and not overlays:
        raise InputError(
            f"--observation {' '.join(drawn)}: chooses what --grad-cam draws, which is not asked for; "
            "add --grad-cam FOLDER or leave it out"
        )


def _is_table(path: Path) -> bool:
    """Returns whether a file is empty or starts like a table of this command."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.readline(10_000).decode("utf-8", errors="replace").strip()
    names = [name.removesuffix(CALLED) for name in head.split(",")]
    return not head or (names[0] == PATH and len(names) > 1 and set(names[1:]) <= set(OBSERVATIONS))
