"""A network as an ONNX graph."""

import importlib.util

import onnx
import onnxruntime
import pytest
import torch

from chex.errors import InputError
from chex.outputs import Outputs
from search.onnx_graph import INPUT, OUTPUT, check_packages, difference, graph
from tests.test_timm_layout import used


@pytest.fixture(scope="module")
def films() -> torch.Tensor:
    return torch.randn(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return used("test_resnet", Outputs(2), final_batch_norm=False)


@pytest.fixture(scope="module")
def content(network: torch.nn.Module, films: torch.Tensor) -> bytes:
    return graph(network, films)


def test_a_graph_gives_the_networks_probabilities_of_any_number_of_films(
    network: torch.nn.Module, films: torch.Tensor, content: bytes
) -> None:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        with torch.no_grad():
            expected = network(films[:count]).sigmoid()
        (given,) = session.run([OUTPUT], {INPUT: films[:count].numpy()})
        torch.testing.assert_close(torch.from_numpy(given), expected, rtol=0, atol=1e-6)


def test_a_graph_is_one_whole_file_without_a_word_on_where_it_was_made(content: bytes) -> None:
    proto = onnx.load_from_string(content)
    onnx.checker.check_model(proto)
    assert not any(node.metadata_props for node in proto.graph.node)
    assert b".py" not in content


def test_a_graph_that_gives_other_probabilities_is_refused(
    network: torch.nn.Module, films: torch.Tensor, content: bytes
) -> None:
    with torch.no_grad():
        probability = network(films).sigmoid().numpy()
    assert difference(content, films, probability) < 1e-6
    probability[3, 1] += 0.002
    with pytest.raises(InputError, match=r"--onnx: the graph's probabilities are up to 0.002 from the network's, and"):
        difference(content, films, probability)


def test_without_the_packages_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    check_packages()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(InputError, match=r"--onnx: onnxscript not installed; install onnx, onnxruntime, onnxscript \("):
        check_packages()
