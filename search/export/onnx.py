"""Exports a network as an ONNX graph from normalised images to probabilities, checked by onnxruntime."""

import importlib.util
import warnings

import numpy as np
import torch
from torch import nn

from chex.errors import InputError

REQUIRED = ("onnx", "onnxruntime", "onnxscript")
INPUT, OUTPUT = "images", "probabilities"
TOLERANCE = 1e-4
"""Largest allowed difference between a probability of the graph and of the network."""


class _Probabilities(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(images)
        return logits.sigmoid()


def check_packages() -> None:
    """Raises InputError if a package that ONNX needs is not installed."""
    missing = [name for name in REQUIRED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"--onnx: {', '.join(missing)} not installed; install {', '.join(REQUIRED)} (the project's extra `onnx`), "
            "or omit --onnx"
        )


def export_graph(network: nn.Module, images: torch.Tensor) -> bytes:
    """Returns the ONNX graph of a `network` in eval mode, which outputs log odds (B, K); the graph has probabilities.

    The graph takes float32 (batch, 1, H, W) named INPUT for any batch size and gives float32 (batch, K) named OUTPUT.
    It is traced with the first two of `images` (B, 1, H, W).
    """
    batch = {0: torch.export.Dim("batch")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are about the exporter itself
        program = torch.onnx.export(
            _Probabilities(network).eval(),
            (images[:2],),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"images": batch},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:  # removes the paths of source files
        del node.metadata_props[:]
        node.doc_string = ""
    return proto.SerializeToString()


def largest_difference(content: bytes, images: torch.Tensor, probability: np.ndarray) -> float:
    """Returns the largest absolute difference between the graph's probabilities and `probability` (B, K).

    Runs the graph on all `images` (B, 1, H, W), and on the first alone. Raises InputError if it exceeds TOLERANCE.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    batch_output, single_output = (session.run([OUTPUT], {INPUT: each.numpy()})[0] for each in (images, images[:1]))
    largest = float(max(np.abs(batch_output - probability).max(), np.abs(single_output - probability[:1]).max()))
    if not largest <= TOLERANCE:
        raise InputError(
            f"--onnx: the graph's probabilities differ from the network's by up to {largest:.1g}, and {TOLERANCE:.0e} "
            "is allowed; omit --onnx"
        )
    return largest
