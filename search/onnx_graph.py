"""A network as an ONNX graph: normalised films to probabilities, checked by onnxruntime."""

import importlib.util
import warnings

import numpy as np
import torch
from torch import nn

from chex.errors import InputError

NEEDED = ("onnx", "onnxruntime", "onnxscript")
INPUT, OUTPUT = "films", "probabilities"
TOLERANCE = 1e-4
"""How far a probability of the graph may be from the network's."""


class _Probabilities(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(films)
        return logits.sigmoid()


def check_packages() -> None:
    """Raises InputError where a package that ONNX needs is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"--onnx: {', '.join(missing)} not installed; install {', '.join(NEEDED)} (the project's extra `onnx`), "
            "or leave --onnx out"
        )


def graph(network: nn.Module, films: torch.Tensor) -> bytes:
    """The graph of a network in evaluation mode that gives log odds (B, K); `films` (B, 1, H, W) are like its input.

    It takes float32 (batch, 1, H, W) named INPUT, for any batch, and gives float32 (batch, K) named OUTPUT.
    """
    batch = {0: torch.export.Dim("batch")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            _Probabilities(network).eval(),
            (films[:2],),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"films": batch},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:  # where in whose files each node comes from is nobody's business
        del node.metadata_props[:]
        node.doc_string = ""
    return proto.SerializeToString()


def difference(content: bytes, films: torch.Tensor, probability: np.ndarray) -> float:
    """The largest distance of the graph's probabilities of `films`, all at once and one alone, from those given (B, K).

    Raises InputError where it exceeds TOLERANCE.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    whole, one = (session.run([OUTPUT], {INPUT: each.numpy()})[0] for each in (films, films[:1]))
    largest = float(max(np.abs(whole - probability).max(), np.abs(one - probability[:1]).max()))
    if not largest <= TOLERANCE:
        raise InputError(
            f"--onnx: the graph's probabilities are up to {largest:.1g} from the network's, and {TOLERANCE:.0e} is "
            "allowed; leave --onnx out"
        )
    return largest
