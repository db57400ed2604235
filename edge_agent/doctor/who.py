"""As whom the doctor looks: what rights allow is asked as this user."""

from __future__ import annotations

import os
import pwd


def user_name() -> str:
    """The name of the effective user, or its number where it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
