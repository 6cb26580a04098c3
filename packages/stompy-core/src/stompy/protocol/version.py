"""The versions of the protocol that are spoken here."""

from __future__ import annotations

from enum import StrEnum


class Version(StrEnum):
    """A version of the protocol; compares in order of age."""

    V1_0 = "1.0"
    V1_1 = "1.1"
    V1_2 = "1.2"


# Before Python 3.12 looking a member up in its class costs a tenth of all there is to a frame.
V1_0, V1_1, V1_2 = Version.V1_0, Version.V1_1, Version.V1_2

ALL_VERSIONS = (Version.V1_2, Version.V1_1, Version.V1_0)
"""What this library speaks, best first."""
