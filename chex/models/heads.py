"""What the outputs of a model mean: one per observation, or three where uncertain is a third class."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class HeadLayout:
    """The layout of the outputs on a model's last axis.

    First comes one output per observation: its logit, or the class positive if the observation has three classes. Then
    come two outputs for each of `multiclass`: its classes negative and uncertain.
    """

    observations: int
    multiclass: tuple[int, ...] = ()
    """The columns of the observations that have three classes."""

    @property
    def count(self) -> int:
        """The number of outputs."""
        return self.observations + 2 * len(self.multiclass)

    def spread(self, cells: "torch.Tensor") -> "torch.Tensor":
        """Returns for each output the value of its observation: (B, count) from (B, K)."""
        import torch

        return torch.cat([cells, cells[:, list(self.multiclass)].repeat_interleave(2, dim=1)], dim=1)

    def classes(self, raw: "torch.Tensor") -> "torch.Tensor":
        """Returns uncertain, negative and positive outputs of `multiclass`: (B, len(multiclass), 3) from (B, count)."""
        import torch

        more = raw[:, self.observations :].reshape(len(raw), -1, 2)
        return torch.stack([more[..., 1], more[..., 0], raw[:, list(self.multiclass)]], dim=-1)

    def logits(self, raw: "torch.Tensor") -> "torch.Tensor":
        """Returns the log odds of positive against negative: (B, K) from (B, count).

        Their sigmoid is the probability. Under `multiclass` it is the softmax over positive and negative only (Irvin et
        al. 2019, section 3).
        """
        if not self.multiclass:
            return raw
        logits = raw[:, : self.observations].clone()
        classes = self.classes(raw)
        logits[:, list(self.multiclass)] = classes[..., 2] - classes[..., 1]
        return logits
