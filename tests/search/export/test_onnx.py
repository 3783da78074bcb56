"""A network as an ONNX graph."""

import importlib.util

import pytest
import torch

from chex.errors import InputError
from chex.models.heads import HeadLayout
from search.export.onnx import INPUT, OUTPUT, check_packages, export_graph, largest_difference
from tests.networks import used


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return used("test_resnet", HeadLayout(2), final_batch_norm=False)


@pytest.fixture(scope="module")
def content(network: torch.nn.Module, images: torch.Tensor) -> bytes:
    return export_graph(network, images)


@pytest.mark.slow
def test_a_graph_gives_the_networks_probabilities_for_any_batch_size(
    network: torch.nn.Module, images: torch.Tensor, content: bytes
) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        with torch.no_grad():
            expected = network(images[:count]).sigmoid()
        (probability,) = session.run([OUTPUT], {INPUT: images[:count].numpy()})
        torch.testing.assert_close(torch.from_numpy(probability), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_graph_is_one_file_without_source_paths(content: bytes) -> None:
    import onnx

    proto = onnx.load_from_string(content)
    onnx.checker.check_model(proto)
    assert not any(node.metadata_props for node in proto.graph.node)
    assert b".py" not in content


@pytest.mark.slow
def test_a_graph_that_gives_other_probabilities_is_refused(
    network: torch.nn.Module, images: torch.Tensor, content: bytes
) -> None:
    with torch.no_grad():
        probability = network(images).sigmoid().numpy()
    assert largest_difference(content, images, probability) < 1e-6
    probability[3, 1] += 0.002
    with pytest.raises(
        InputError, match=r"--onnx: the graph's probabilities differ from the network's by up to 0.002, and"
    ):
        largest_difference(content, images, probability)


def test_without_the_packages_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    check_packages()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(InputError, match=r"--onnx: onnxscript not installed; install onnx, onnxruntime, onnxscript \("):
        check_packages()
