"""Which ONNX Runtime is installed, read from the package metadata alone."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

# All three install the import name ``onnxruntime`` and overwrite each other's files.
CLASSIC = ("onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu")
PLUGIN = "onnxruntime-ep-openvino"


@dataclass(frozen=True)
class Wheels:
    """Installed distributions and their versions."""

    classic: dict[str, str]
    plugin: str | None
    """Version of the OpenVINO plugin for stock ONNX Runtime; None: not installed."""

    @property
    def clash(self) -> str:
        """What is wrong with the mixture, and how to mend it; empty when nothing is."""
        if len(self.classic) <= 1:
            return ""
        names = " and ".join(self.classic)
        return (
            f"{names} are installed together: they overwrite each other, so which one runs is "
            f"undefined. Run `pip uninstall -y {' '.join(self.classic)}`, then install "
            "edge-inspect again with one of the extras cpu, openvino, gpu"
        )

    @property
    def fingerprint(self) -> tuple[str, ...]:
        """Names and versions, for what must be measured again when they change."""
        names = [f"{name} {number}" for name, number in sorted(self.classic.items())]
        return (*names, f"{PLUGIN} {self.plugin}") if self.plugin else tuple(names)


def find_wheels() -> Wheels:
    """Look at what is installed in this environment."""
    found = {name: number for name in CLASSIC if (number := _version(name))}
    return Wheels(found, _version(PLUGIN))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
