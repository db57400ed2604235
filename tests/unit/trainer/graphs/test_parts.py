"""What may be computed in 8 bits, and what never is."""

from __future__ import annotations

import onnx
import pytest

from tests.graphs import make_network
from trainer.graphs.parts import blocks, float_nodes


@pytest.fixture
def network(tmp_path):
    return onnx.load(make_network(tmp_path / "small.onnx"))


def test_pixels_squeeze_and_logits_stay_in_float(network):
    before = {"planes", "cast", "sub", "div"}
    squeeze = {"squeeze", "excite", "gain", "scale"}
    after = {"logit", "map", "heat", "pool", "score"}
    assert float_nodes(network) == before | squeeze | after


def test_blocks_are_told_by_the_names_of_their_weights(network):
    found = blocks(network)
    assert found["body.1"] == ["conv1", "relu1"]
    assert found["body.2"] == [*("conv2", "relu2", "squeeze", "excite", "gain", "scale")]
    assert found["logit"] == ["logit", "map", "heat", "pool", "score"]
    assert sum(len(nodes) for nodes in found.values()) == len(network.graph.node)
