"""What the ONNX graph of a variant must look like, checked without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_agent.bundle.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

    from edge_agent.bundle.manifest import Preprocess

# Standard operators, and the ones that ONNX Runtime itself ships. Anything else would need a
# custom-op library, which is code from the bundle running on the line PC.
ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})
# A part that a driver compiled: bytes for the device itself, and often in another file.
COMPILED = ("com.microsoft", "EPContext")


def check_graph(where: str, content: bytes, preprocess: Preprocess) -> None:
    """Hold an ONNX model to the contract: self-contained, ``image`` in, ``score``, ``heatmap`` out.

    Args:
        where: what the model is called, for what is said.
        content: the bytes of it, as they are to be run.
        preprocess: what makes its input.

    Raises:
        BundleError: with what was expected and what was found.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:
        raise BundleError(f"{where} is not an ONNX file: {error}") from None

    local = {(function.domain, function.name) for function in model.functions}
    for part in _parts(model):
        if isinstance(part, onnx.TensorProto):
            if part.data_location == onnx.TensorProto.EXTERNAL or part.external_data:
                raise BundleError(
                    f"{where}: tensor {part.name!r} keeps its data in another file; a bundle's "
                    "models are self-contained. Export again without external data"
                )
        elif isinstance(part, onnx.NodeProto):
            operator = (part.domain, part.op_type)
            if operator == COMPILED:
                raise BundleError(
                    f"{where}: {part.op_type} was compiled for one device; a bundle's models are "
                    "plain ONNX. Export again without it"
                )
            if part.domain not in ALLOWED_DOMAINS and operator not in local:
                raise BundleError(
                    f"{where}: operator {part.domain}::{part.op_type} is a custom one; "
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
            got is None if want is None else got is not None and (got == want if want else got > 0)
            for want, got in zip(want_shape, got_shape, strict=True)
        )
        if not matches:
            raise BundleError(
                f"{where}: {kind} {value.name!r} has shape {_text(got_shape)}, "
                f"it must be {_text(want_shape)}"
            )


def _text(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("N" if d is None else "fixed" if d == 0 else str(d) for d in shape) + ")"


def _parts(message: Any) -> Iterator[Any]:
    """Every message inside of a model, at any depth: subgraphs, functions, sparse tensors."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _parts(inner)
