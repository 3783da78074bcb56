"""Where Grad-CAM sees evidence: in known networks, and against its closed form."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from chex.data.data_config import ImageConfig
from chex.data.normalization import Normalization
from chex.errors import InputError
from chex.evaluation.gradcam import FeatureMap, check_map, grad_cam, overlay
from chex.evaluation.load_model import LoadedModel
from chex.models.classifier import Classifier, build_model
from chex.models.heads import HeadLayout
from chex.models.model_config import ModelConfig


class Bright(nn.Module):
    """Two channels: how bright an eighth of the image is, and how dark."""

    num_features = 2

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        bright = nn.functional.avg_pool2d(images, images.shape[-1] // 8)
        return torch.cat([bright, -bright], dim=1)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean(dim=(2, 3))


def bright(weights: list[list[float]]) -> LoadedModel:
    """A network whose outputs are linear in how bright and how dark an image is."""
    model = Classifier(
        Bright(), Normalization(0.5, 0.5), features=2, outputs=len(weights), dropout=0.0, final_batch_norm=False
    )
    with torch.no_grad():
        model.head[1].weight.copy_(torch.tensor(weights))
    names = tuple(f"o{row}" for row in range(len(weights)))
    return LoadedModel(model.eval(), "bright", names, HeadLayout(len(weights)), ImageConfig(size=64))


def patch() -> torch.Tensor:
    images = torch.zeros(2, 1, 64, 64)
    images[0, 0, 8:16, 40:48] = 2.0
    images[0, 0, 48:56, 0:8] = 1.0
    images[1, 0, 32:40, 32:40] = 3.0
    return images


def test_evidence_lies_where_the_film_is_bright_and_each_film_has_its_own_scale() -> None:
    maps = grad_cam(bright([[1.0, 0.0], [0.0, 1.0]]), patch(), [0, 1])
    assert maps.shape == (2, 2, 8, 8)
    assert [maps[0, 0, 1, 5], maps[0, 0, 6, 0], maps[1, 0, 4, 4]] == pytest.approx([1.0, 0.5, 1.0])
    assert np.count_nonzero(maps[:, 0]) == 3
    assert not maps[:, 1].any()


def test_evidence_against_an_observation_lies_where_there_is_none_for_it() -> None:
    trained = bright([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(grad_cam(trained, patch(), [1], against=True), grad_cam(trained, patch(), [0]))
    assert not grad_cam(trained, patch(), [0], against=True).any()


def test_the_observations_asked_for_come_in_their_order() -> None:
    trained = bright([[1.0, 0.0], [0.0, 1.0]])
    both, one = grad_cam(trained, patch(), [1, 0]), grad_cam(trained, patch(), [0])
    np.testing.assert_array_equal(both[:, 1], one[:, 0])


class ChannelsLast(Bright):
    """Bright, in the order of a Swin's features."""

    output_fmt = "NHWC"

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward_features(images).permute(0, 2, 3, 1)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean(dim=(1, 2))


def test_a_backbone_whose_channels_come_last_gives_the_same_heat() -> None:
    trained = bright([[1.0, 0.5]])
    first = grad_cam(trained, patch(), [0])
    trained.model.backbone = ChannelsLast()
    assert check_map(trained) == FeatureMap(8, 8)
    np.testing.assert_allclose(grad_cam(trained, patch(), [0]), first, atol=1e-6)


class Ramp(Bright):
    """Bright, where the right side of an image counts more."""

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward_head(features * torch.arange(8.0))


def test_a_channel_has_one_weight_wherever_on_the_film() -> None:
    trained = bright([[1.0, 0.5]])
    first = grad_cam(trained, patch(), [0])
    trained.model.backbone = Ramp()
    np.testing.assert_allclose(grad_cam(trained, patch(), [0]), first, atol=1e-6)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext"])
def test_heat_is_what_moving_the_channels_one_by_one_shows(backbone: str) -> None:
    model = build_model(ModelConfig(backbone=backbone), outputs=5, seed=0).eval()
    trained = LoadedModel(model, backbone, ("a", "b", "c"), HeadLayout(3, (1,)), ImageConfig(size=96))
    image = torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    found = grad_cam(trained, image, [1])[0, 0]
    with torch.no_grad():
        features = model.backbone.forward_features(image).double()  # type: ignore[operator]
        model.double()
        step = 1e-5 * torch.eye(features.shape[1], dtype=torch.float64)[:, :, None, None]
        odds = [
            trained.outputs.logits(model.head(model.backbone.forward_head(features + move)))[:, 1]  # type: ignore[operator]
            for move in (step, -step)
        ]
        expected = ((odds[0] - odds[1])[None, :, None, None] * features).sum(dim=1).relu()[0]
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-3)


@pytest.mark.parametrize(("backbone", "module"), [("test_resnet", "layer2"), ("test_convnext", "stages.1")])
def test_where_the_last_map_is_coarse_an_earlier_one_is_taken_and_told(backbone: str, module: str) -> None:
    model = build_model(ModelConfig(backbone=backbone), outputs=4, seed=0).eval()
    trained = LoadedModel(model, backbone, ("a", "b"), HeadLayout(2, (1,)), ImageConfig(size=64))
    chosen = check_map(trained)
    assert (chosen.height, chosen.width, chosen.module) == (8, 8, module)
    assert chosen.cells == f"8 x 8 cells of {module} (the last feature map has 2 x 2)"
    image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    found, against = (grad_cam(trained, image, [1], way, module)[0, 0] for way in (False, True))
    with torch.no_grad():
        model.double()
        seen: list[torch.Tensor] = []
        moves = [torch.zeros(1)]
        layer = model.backbone.get_submodule(module)
        layer.register_forward_hook(lambda _, __, given: seen.append(given) or given + moves[0])  # type: ignore[func-returns-value]

        def odds(move: torch.Tensor) -> torch.Tensor:
            moves[0] = move
            images = image.double().expand(len(move), -1, -1, -1)
            return trained.outputs.logits(model.head(model.backbone(images)))[:, 1]

        odds(torch.zeros(1, 1, 1, 1, dtype=torch.float64))
        features = seen[0]
        step = 1e-5 * torch.eye(features.shape[1], dtype=torch.float64)[:, :, None, None]
        both = ((odds(step) - odds(-step))[None, :, None, None] * features).sum(dim=1)[0]
    for map_of, expected in ((found, both.relu()), (against, (-both).relu())):
        np.testing.assert_allclose(map_of, expected / expected.max().clamp_min(1e-30), atol=2e-3)


def test_a_map_has_the_shape_that_is_told_and_tokens_are_refused() -> None:
    model = build_model(ModelConfig(backbone="test_resnet"), outputs=1, seed=0).eval()
    assert check_map(LoadedModel(model, "test_resnet", ("a",), HeadLayout(1), ImageConfig(size=224))) == FeatureMap(
        7, 7
    )
    assert check_map(LoadedModel(model, "test_resnet", ("a",), HeadLayout(1), ImageConfig(size=32))).module == "layer1"
    tokens = Classifier(
        timm.create_model("test_vit", in_chans=1, num_classes=0), Normalization(0.5, 0.5), 64, 1, 0.0, False
    ).eval()
    message = "--grad-cam: test_vit ends in tokens, and Grad-CAM needs a feature map; leave --grad-cam out, or train"
    with pytest.raises(InputError, match=message):
        check_map(LoadedModel(tokens, "test_vit", ("a",), HeadLayout(1), ImageConfig(size=160)))


def test_an_overlay_leaves_a_film_without_heat_gray_and_reddens_it_where_heat_is() -> None:
    image = np.full((96, 96), 100, dtype=np.uint8)
    plain = np.asarray(overlay(image, np.zeros((2, 2), dtype=np.float32), "Edema .5"))
    assert (plain[-96:] == 100).all()
    assert (plain[:-96] < 100).any()
    hot = np.asarray(overlay(image, np.array([[0.0, 0.0], [0.0, 1.0]], dtype=np.float32), "Edema .5"))[-96:].astype(int)
    assert hot[90, 90, 0] > 180 > hot[90, 90, 2]
    assert np.abs(hot[5, 5] - 100).max() <= 1
