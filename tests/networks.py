"""Networks that are no longer as they were made."""

import torch

from chex.models.classifier import Classifier, build_model
from chex.models.heads import HeadLayout
from chex.models.model_config import ModelConfig


def used(backbone: str, outputs: HeadLayout, final_batch_norm: bool, size: int = 32) -> Classifier:
    """A network whose batch norm has seen images, and whose own numbers are not those of its beginning."""
    model = build_model(ModelConfig(backbone=backbone, final_batch_norm=final_batch_norm), outputs.count, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for array in model.head.parameters():
            array.add_(torch.randn_like(array))
        for _ in range(3):
            model.train()(2 * torch.randn(8, 1, size, size) + 1)
    return model.eval()
