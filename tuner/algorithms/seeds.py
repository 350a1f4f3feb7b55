"""Seeds derived from other seeds."""

import hashlib


def seed_of(*parts: object) -> int:
    """Return a seed in [0, 2³¹) that is a pure function of the given parts."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
