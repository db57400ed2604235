"""Verify a bundle in a process of its own: ``python -m edge_agent.bundle PATH``.

The daemon doesn't parse models itself: they are bytes from elsewhere, parsed by native code.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edge_agent.bundle.errors import BundleError
from edge_agent.bundle.store import open_bundle

if __name__ == "__main__":
    try:
        open_bundle(Path(sys.argv[1]))
    except BundleError as refusal:
        print(refusal)
        sys.exit(2)
