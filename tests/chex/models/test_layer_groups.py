import pytest
from torch import nn

from chex.data.normalization import Normalization
from chex.models.classifier import Classifier, build_model
from chex.models.layer_groups import freeze, is_frozen, layer_groups, train_mode
from chex.models.model_config import ModelConfig


def model(backbone: str = "test_resnet") -> Classifier:
    return build_model(ModelConfig(backbone=backbone), outputs=2, seed=0)


@pytest.mark.parametrize(("backbone", "groups"), [("test_resnet", 6), ("densenet121", 7)])
def test_groups_hold_every_weight_once_from_stem_to_head(backbone: str, groups: int) -> None:
    network = model(backbone)
    groups_found = layer_groups(network)
    assert len(groups_found) == groups
    assert {id(weight) for group in groups_found for weight in group} == {id(weight) for weight in network.parameters()}
    assert sum(map(len, groups_found)) == len(list(network.parameters()))
    assert groups_found[0][0] is next(network.backbone.parameters())
    assert groups_found[-1][-1] is list(network.head.parameters())[-1]


def test_a_backbone_without_stages_is_one_group() -> None:
    plain = Classifier(
        nn.Linear(3, 3), Normalization(0.5, 0.5), features=3, outputs=1, dropout=0.0, final_batch_norm=False
    )
    assert [len(group) for group in layer_groups(plain)] == [2, 2]


def test_batch_norm_of_frozen_groups_keeps_its_statistics_and_that_of_others_does_not() -> None:
    network = model()
    freeze(layer_groups(network), 2)
    train_mode(network)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {layer.training for layer in norms} == {True, False}
    assert all(layer.training != is_frozen(layer) for layer in norms)
    freeze(layer_groups(network), 0)
    train_mode(network)
    assert all(layer.training for layer in norms)
