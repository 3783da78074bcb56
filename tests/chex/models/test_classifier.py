import re
from pathlib import Path

import pytest
import torch
from torch import nn

from chex.config import RunConfig, validate
from chex.data.normalization import Normalization
from chex.errors import InputError
from chex.models.classifier import build_model, check_model, normalization_of
from chex.models.model_config import ModelConfig

TINY = ModelConfig(backbone="test_resnet")


def test_films_become_one_logit_per_observation() -> None:
    assert build_model(TINY, outputs=3, seed=0)(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize("backbone", ["densenet121", "resnet50", "mobilenetv3_small_050"])
def test_backbones_of_several_families_take_gray_films(backbone: str) -> None:
    check_model(ModelConfig(backbone=backbone), image_size=32)


@pytest.mark.parametrize(
    ("backbone", "mean", "std"),
    [
        ("densenet121", 0.449, 0.226),
        ("vit_base_patch16_224", 0.5, 0.5),
        ("beit_base_patch16_224", 0.5, 0.5),
        ("inception_v3.tf_in1k", 0.5, 0.5),
        ("vit_base_patch16_clip_224.openai", 0.449164, 0.26857),
    ],
)
def test_gray_levels_are_normalised_as_timm_says_of_the_backbone(backbone: str, mean: float, std: float) -> None:
    assert normalization_of(backbone) == Normalization(mean, std)


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    first, again, other = (build_model(TINY, 1, seed).head[1].weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_dropout_and_final_batch_norm_stand_in_the_head() -> None:
    head = build_model(ModelConfig(backbone="test_resnet", dropout=0.3, final_batch_norm=True), 2, seed=0).head
    assert [type(layer) for layer in head] == [nn.Dropout, nn.Linear, nn.BatchNorm1d]
    assert head[0].p == 0.3


def test_different_films_get_different_logits_in_bf16_too() -> None:
    model = build_model(TINY, 1, seed=0).eval()
    images = torch.randn(234, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
    assert logits.dtype == torch.float32
    assert len(logits.unique()) == 234


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_head_learns_in_float32_under_autocast(batch_norm: bool) -> None:
    model = build_model(TINY.model_copy(update={"final_batch_norm": batch_norm}), 2, seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        raw = model(torch.randn(6, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert raw.dtype == torch.float32
    raw.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_an_unknown_backbone_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        InputError, match=r"model.backbone: 'densnet121' is not a timm model; did you mean 'densenet121'\?"
    ):
        build_model(ModelConfig(backbone="densnet121"), 1, seed=0)


def test_a_backbone_that_cannot_take_the_image_size_is_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"model.backbone: 'vit_tiny_patch16_224' cannot process images of 32 px .*; change image.size or",
    ):
        check_model(ModelConfig(backbone="vit_tiny_patch16_224"), image_size=32)


def test_weights_that_cannot_be_fetched_say_how_to_do_without() -> None:
    message = (
        r"model.pretrained: weights of .test_resnet. could not be loaded from timm.s published weights of test_res"
    )
    with pytest.raises(InputError, match=message):
        build_model(ModelConfig(backbone="test_resnet", pretrained=True), 1, seed=0)


def test_a_missing_weights_file_is_named() -> None:
    file = re.escape(f"{Path('nowhere.safetensors').absolute()}")
    with pytest.raises(InputError, match=rf"model.pretrained_file: {file} is not a file; give a file of weights"):
        build_model(
            ModelConfig(backbone="test_resnet", pretrained=True, pretrained_file=Path("nowhere.safetensors")), 1, seed=0
        )


def test_a_file_that_is_given_is_read_and_not_silently_left_aside() -> None:
    config = ModelConfig(pretrained_file=Path("w.pth"))
    assert config.pretrained
    assert ModelConfig.model_validate(config.model_dump(mode="json")) == config
    message = r"model.pretrained_file: w.pth is not read while model.pretrained is false; leave model.pretrained"
    with pytest.raises(InputError, match=message):
        validate(RunConfig, {"model": {"pretrained": False, "pretrained_file": "w.pth"}}, "run.yaml")


def test_pretrained_weights_come_from_a_given_file(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    source = timm.create_model("test_resnet")
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    config = ModelConfig(backbone="test_resnet", pretrained=True, pretrained_file=tmp_path / "weights.safetensors")
    built = build_model(config, 1, seed=0).backbone.state_dict()
    assert torch.equal(built["layer1.0.conv1.weight"], source.state_dict()["layer1.0.conv1.weight"])
    stem = source.state_dict()["conv1.0.weight" if "conv1.0.weight" in source.state_dict() else "conv1.weight"]
    name = "conv1.0.weight" if "conv1.0.weight" in built else "conv1.weight"
    torch.testing.assert_close(built[name], stem.sum(dim=1, keepdim=True))


def test_a_weights_file_that_holds_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "owned").touch, ())

    torch.save({"state_dict": Evil()}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="cannot be read as weights"):
        build_model(
            ModelConfig(backbone="test_resnet", pretrained=True, pretrained_file=tmp_path / "weights.pt"), 1, seed=0
        )
    assert not (tmp_path / "owned").exists()
