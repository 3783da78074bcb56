"""What a model's outputs mean: one per observation, three where uncertain is a class of its own."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Outputs:
    """The layout of a model's last axis.

    First one output per observation, then two more, negative and uncertain, for each of `multiclass` in turn: the first
    output of those is their class positive. A binary observation's output is its logit.
    """

    observations: int
    multiclass: tuple[int, ...] = ()
    """Columns, among the observations, of those with three classes."""

    @property
    def count(self) -> int:
        """How many outputs there are."""
        return self.observations + 2 * len(self.multiclass)

    def spread(self, cells: torch.Tensor) -> torch.Tensor:
        """(B, count) from one value per observation, (B, K): for each output the value of its observation."""
        return torch.cat([cells, cells[:, list(self.multiclass)].repeat_interleave(2, dim=1)], dim=1)

    def classes(self, raw: torch.Tensor) -> torch.Tensor:
        """(B, M, 3) from outputs (B, count): uncertain, negative and positive of each of `multiclass`."""
        more = raw[:, self.observations :].reshape(len(raw), -1, 2)
        return torch.stack([more[..., 1], more[..., 0], raw[:, list(self.multiclass)]], dim=-1)

    def logits(self, raw: torch.Tensor) -> torch.Tensor:
        """(B, K) from outputs (B, count): the log odds of positive against negative.

        Their sigmoid is the probability; under `multiclass` that is the softmax over positive and negative only, as
        the class uncertain says nothing of how to split it (Irvin et al. 2019, section 3).
        """
        if not self.multiclass:
            return raw
        logits = raw[:, : self.observations].clone()
        classes = self.classes(raw)
        logits[:, list(self.multiclass)] = classes[..., 2] - classes[..., 1]
        return logits
