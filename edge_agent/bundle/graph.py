"""What the ONNX graph of a variant must look like, checked without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.bundle.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx

    from edge_agent.bundle.manifest import Preprocess

# Standard operators, and the ones that ONNX Runtime itself ships. Anything else would need a
# custom-op library, which is code from the bundle running on the line PC.
ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})


def check_graph(file: Path, preprocess: Preprocess) -> None:
    """Hold an ONNX file to the contract: self-contained, ``image`` in, ``score``, ``heatmap`` out.

    Raises:
        BundleError: with what was expected and what was found.
    """
    import onnx

    where = file.name
    try:
        model = onnx.load(str(file), load_external_data=False)
    except Exception as error:
        raise BundleError(f"{where} is not an ONNX file: {error}") from None

    for graph in _graphs(model.graph):
        for tensor in _tensors(graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
                raise BundleError(
                    f"{where}: tensor {tensor.name!r} keeps its data in another file; a bundle's "
                    "models are self-contained. Export again without external data"
                )
        for node in graph.node:
            local = {function.name for function in model.functions}
            if node.domain not in ALLOWED_DOMAINS and node.op_type not in local:
                raise BundleError(
                    f"{where}: operator {node.domain}::{node.op_type} is a custom one; "
                    "only ONNX's own and ONNX Runtime's may be used"
                )

    height, width = preprocess.height, preprocess.width
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    _check_values(where, "input", inputs, {"image": ("uint8", (None, height, width, 3))})
    _check_values(
        where,
        "output",
        list(model.graph.output),
        {"score": ("float", (None,)), "heatmap": ("float", (None, 0, 0))},
    )


def _check_values(
    where: str,
    kind: str,
    found: list[onnx.ValueInfoProto],
    expected: dict[str, tuple[str, tuple[int | None, ...]]],
) -> None:
    """Shapes: None is the dynamic N, 0 any fixed size."""
    import onnx

    names = [value.name for value in found]
    if sorted(names) != sorted(expected):
        raise BundleError(
            f"{where}: the graph's {kind}s are {names}; they must be {sorted(expected)}"
        )
    for value in found:
        want_type, want_shape = expected[value.name]
        tensor = value.type.tensor_type
        got_type = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        if got_type != want_type:
            raise BundleError(
                f"{where}: {kind} {value.name!r} is of type {got_type}, it must be {want_type}"
            )
        got_shape = tuple(
            d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim
        )
        matches = len(got_shape) == len(want_shape) and all(
            (want is None and got is None)
            or (want == 0 and got)
            or (want is not None and want == got)
            for want, got in zip(want_shape, got_shape, strict=True)
        )
        if not matches:
            raise BundleError(
                f"{where}: {kind} {value.name!r} has shape {_text(got_shape)}, "
                f"it must be {_text(want_shape)}"
            )


def _text(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("N" if d is None else "fixed" if d == 0 else str(d) for d in shape) + ")"


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
            for inner in attribute.graphs:
                yield from _graphs(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
