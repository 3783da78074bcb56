"""The section `device` of a run's config."""

from typing import Literal

from pydantic import Field

from chex.schema.strict_model import Strict


class DeviceConfig(Strict):
    """The device of a run, its CPU threads and its precision."""

    kind: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU if torch sees one, else the CPU."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads of torch; blank: torch's default, at most the CPUs that the process may use."""
    amp: Literal["auto", "bf16", "fp16", "off"] = "auto"
    """Precision of the forward pass. `auto`: bf16 on GPUs that support it and fp16 on others; on CPUs bf16 if a timing
    at the start of the run shows that it is faster (see chex.training.auto)."""
