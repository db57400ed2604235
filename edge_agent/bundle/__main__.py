"""Verify a bundle in a process of its own; prints as JSON what was verified.

``python -m edge_agent.bundle PATH TRUST``, TRUST being JSON: the public keys by name, and whether
there must be a signature. The daemon doesn't parse models itself: they are bytes from elsewhere,
parsed by native code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edge_agent.bundle.errors import BundleError
from edge_agent.bundle.store import open_bundle


def main(path: Path, keys: dict[str, str], *, required: bool) -> dict[str, str]:
    """Verify; return the manifest's digest and who signed it.

    Raises:
        BundleError: anything is wrong with it.
    """
    signed_by = digest = ""
    if keys:  # first: what nobody vouches for is not parsed further
        from edge_agent.bundle.signature import SIGNATURE, signer

        signed_by, digest = signer(path, keys)
        if required and not signed_by:
            raise BundleError(
                f"{path} has no {SIGNATURE}, and [trust] require_signature is set: sign it with "
                "`edge-agent bundle sign`"
            )
    return {"digest": open_bundle(path, digest=digest).digest, "signed_by": signed_by}


if __name__ == "__main__":
    trust = json.loads(sys.argv[2])
    try:
        print(json.dumps(main(Path(sys.argv[1]), trust["keys"], required=trust["required"])))
    except BundleError as refusal:
        print(refusal)
        sys.exit(2)
