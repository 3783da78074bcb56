"""Where the first weights of a network came from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Where the first weights of a backbone came from."""

    source: str
    """The file, or the name of timm's published weights."""
    sha256: str
    """The SHA-256 of the file; "" for published weights."""
    tensors: int
    """The number of tensors that were loaded: all that the backbone has."""
    left_out: tuple[str, ...]
    """The names of the tensors in the file that the backbone does not have, such as those of a classifier."""

    def describe(self) -> str:
        """Returns a sentence that says what was loaded."""
        count = f"{self.tensors:,} of {self.tensors:,} backbone tensors"
        left = f"; left out {len(self.left_out)} more, first {self.left_out[0]}" if self.left_out else ""
        return f"loaded {count} from {self.source}{left}"
