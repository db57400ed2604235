"""The line PC's half: watches, judges, records and publishes. Never imports torch."""

import os

# The one place: pyproject.toml, the installer and the bill of materials read this line.
__version__ = "0.2.0"

# From 1.29 on ONNX Runtime reports to its maker over the network, from Linux too, unless this is
# set before it is loaded. A line PC speaks to its broker and to nobody else.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
