"""Every graph that is off the contract is refused, with what was expected and what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_agent.bundle import BundleError, Preprocess
from edge_agent.bundle.graph import check_graph
from tests.bundles import HEIGHT, WIDTH, make_model

if TYPE_CHECKING:
    from collections.abc import Callable


def check(model: bytes) -> None:
    check_graph("model.onnx", model, Preprocess(width=WIDTH, height=HEIGHT))


@pytest.fixture
def refusal() -> Callable[[Callable[[onnx.ModelProto], object]], str]:
    def refuse(edit: Callable[[onnx.ModelProto], object]) -> str:
        with pytest.raises(BundleError) as caught:
            check(make_model(edit=edit))
        assert str(caught.value).startswith("model.onnx")
        return str(caught.value)

    return refuse


def elsewhere() -> TensorProto:
    """A tensor whose data would be read from a file of the machine."""
    tensor = TensorProto(name="far", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../etc/passwd"
    return tensor


def add_function(model: onnx.ModelProto, *nodes: onnx.NodeProto, domain: str = "local") -> None:
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function(domain, "F", ["x"], ["y"], nodes, imports))


def subgraph(*nodes: onnx.NodeProto, tensors: tuple[TensorProto, ...] = ()) -> onnx.NodeProto:
    output = helper.make_tensor_value_info("then", TensorProto.FLOAT, None)
    inner = helper.make_graph(list(nodes), "inner", [], [output], list(tensors))
    return helper.make_node("If", ["condition"], ["then"], then_branch=inner, else_branch=inner)


def test_the_contract_itself_is_accepted():
    check(make_model())


def test_a_function_of_the_model_itself_is_accepted():
    def edit(model):
        add_function(model, helper.make_node("Abs", ["x"], ["y"]))
        model.graph.node.append(helper.make_node("F", ["share"], ["more"], domain="local"))

    check(make_model(edit=edit))


@pytest.mark.parametrize("content", [b"words", b"", bytes(1000), b"\x08\xff\xff\xff"])
def test_bytes_that_are_no_model(content):
    with pytest.raises(BundleError, match=r"model.onnx(: the graph's inputs| is not an ONNX file)"):
        check(content)


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.graph.initializer.append(elsewhere()),
        lambda m: m.graph.node.append(helper.make_node("Constant", [], ["c"], value=elsewhere())),
        lambda m: m.graph.node.append(subgraph(tensors=(elsewhere(),))),
        lambda m: add_function(m, helper.make_node("Constant", [], ["y"], value=elsewhere())),
        lambda m: m.graph.sparse_initializer.append(
            helper.make_sparse_tensor(
                elsewhere(), numpy_helper.from_array(np.array([0], np.int64)), [4]
            )
        ),
    ],
    ids=["initializer", "constant", "subgraph", "function", "sparse"],
)
def test_data_in_another_file(refusal, edit):
    assert "tensor 'far' keeps its data in another file" in refusal(edit)


CUSTOM = helper.make_node("Sh", ["image"], ["out"], domain="evil")


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.graph.node.append(CUSTOM),
        lambda m: m.graph.node.append(subgraph(CUSTOM)),
        lambda m: add_function(m, CUSTOM),
        lambda m: (
            m.graph.node.append(helper.make_node("F", ["image"], ["out"], domain="evil")),
            add_function(m, helper.make_node("Abs", ["x"], ["y"])),
        ),
    ],
    ids=["graph", "subgraph", "function", "name of a function of another domain"],
)
def test_a_custom_operator(refusal, edit):
    said = refusal(edit)

    assert "operator evil::" in said
    assert "is a custom one" in said


def test_what_was_compiled_for_a_device(refusal):
    node = helper.make_node("EPContext", ["image"], ["out"], domain="com.microsoft")

    assert "EPContext was compiled for one device" in refusal(lambda m: m.graph.node.append(node))


def rename_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "picture"


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "probability"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (rename_input, "inputs are ['picture']; they must be ['image']"),
        (rename_output, "outputs are ['probability', 'heatmap']; they must be ['heatmap', 'sc"),
        (lambda m: m.graph.output.pop(), "outputs are ['score']; they must be"),
        (lambda m: m.graph.input.append(m.graph.input[0]), "inputs are ['image', 'image']"),
        (
            lambda m: m.graph.output.append(
                helper.make_tensor_value_info("more", TensorProto.FLOAT, ["N"])
            ),
            "outputs are ['score', 'heatmap', 'more']",
        ),
    ],
)
def test_a_wrong_name_or_number(refusal, edit, said):
    assert said in refusal(edit)


def of_type(which: str, kind: int) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        for value in [*model.graph.input, *model.graph.output]:
            if value.name == which:
                value.type.tensor_type.elem_type = kind

    return edit


@pytest.mark.parametrize(
    ("which", "kind", "said"),
    [
        ("image", TensorProto.FLOAT, "input 'image' is of type float, it must be uint8"),
        ("image", TensorProto.INT8, "input 'image' is of type int8, it must be uint8"),
        ("score", TensorProto.DOUBLE, "output 'score' is of type double, it must be float"),
        ("heatmap", TensorProto.FLOAT16, "output 'heatmap' is of type float16, it must be float"),
        ("score", TensorProto.UNDEFINED, "output 'score' is of type undefined"),
    ],
)
def test_a_wrong_type(refusal, which, kind, said):
    assert said in refusal(of_type(which, kind))


def of_shape(which: str, shape: list[int | str | None]) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        for value in [*model.graph.input, *model.graph.output]:
            if value.name == which:
                kind = value.type.tensor_type.elem_type
                value.CopyFrom(helper.make_tensor_value_info(which, kind, shape))

    return edit


@pytest.mark.parametrize(
    ("which", "shape", "said"),
    [
        ("image", [1, HEIGHT, WIDTH, 3], "shape (1, 96, 64, 3), it must be (N, 96, 64, 3)"),
        ("image", ["N", WIDTH, HEIGHT, 3], "shape (N, 64, 96, 3)"),
        ("image", ["N", 3, HEIGHT, WIDTH], "shape (N, 3, 96, 64)"),
        ("image", ["N", "H", "W", 3], "shape (N, N, N, 3)"),
        ("image", ["N", HEIGHT, WIDTH], "shape (N, 96, 64), it must be"),
        ("score", ["N", 1], "shape (N, 1), it must be (N)"),
        ("score", [], "shape (), it must be (N)"),
        ("score", [1], "shape (1), it must be (N)"),
        ("heatmap", ["N", "h", "w"], "shape (N, N, N), it must be (N, fixed, fixed)"),
        ("heatmap", ["N", 12, 8, 1], "shape (N, 12, 8, 1)"),
        ("heatmap", ["N", -1, 8], "shape (N, -1, 8)"),
        ("heatmap", ["N", 0, 8], "it must be (N, fixed, fixed)"),
    ],
)
def test_a_wrong_shape(refusal, which, shape, said):
    assert said in refusal(of_shape(which, shape))
