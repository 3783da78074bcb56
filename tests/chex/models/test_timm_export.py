"""A network in timm's layout gives the log odds that it gives in ours."""

import pytest
import timm
import torch

from chex.errors import InputError
from chex.models.classifier import build_model
from chex.models.heads import HeadLayout
from chex.models.model_config import ModelConfig
from chex.models.timm_export import from_timm, to_timm
from tests.networks import used

OUTPUTS = (HeadLayout(1), HeadLayout(1, (0,)), HeadLayout(5, (3,)), HeadLayout(3, (2, 0)))


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("final_batch_norm", [False, True])
def test_timm_gives_the_log_odds_of_the_observations_alone(outputs: HeadLayout, final_batch_norm: bool) -> None:
    model = used("test_resnet", outputs, final_batch_norm)
    layout = to_timm(model, outputs, "test_resnet")
    theirs = timm.create_model("test_resnet", in_chans=1, num_classes=outputs.observations).eval()
    theirs.load_state_dict(layout.arrays)
    films = torch.randn(6, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(theirs(films), outputs.logits(model(films)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext", "test_vit", "densenet121", "resnet18.a1_in1k"])
def test_a_network_comes_back_from_timms_layout(backbone: str) -> None:
    outputs = HeadLayout(2, (1,))
    size = 160 if backbone == "test_vit" else 64
    model = used(backbone, outputs, True, size)
    layout = to_timm(model, outputs, backbone)
    again = build_model(ModelConfig(backbone=backbone), 2, seed=5).eval()
    again.load_state_dict(from_timm(layout.arrays, layout.last_layer))
    films = torch.randn(2, 1, size, size)
    with torch.no_grad():
        torch.testing.assert_close(again(films), outputs.logits(model(films)), rtol=5e-4, atol=1e-4)
    assert layout.fixed_size == (backbone == "test_vit")


def test_a_backbone_that_ends_in_two_layers_is_refused() -> None:
    name = "deit_tiny_distilled_patch16_224"
    model = build_model(ModelConfig(backbone=name), 1, seed=0)
    with pytest.raises(InputError, match=f"model.backbone: timm's {name} does not end in one linear layer, so timm"):
        to_timm(model, HeadLayout(1), name)
