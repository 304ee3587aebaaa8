"""Which part of a data set an episode is for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

SPLITS = ("train", "val", "test")
SHARES = (0.8, 0.1, 0.1)


def split_of(lab: str, building: str, scene_id: int, shares: Sequence[float] = SHARES) -> str:
    """train, val or test, the same for all episodes of a scene.

    The first 8 bytes of the SHA-256 of the JSON text `[lab, building, scene_id]` are a number from
    0 to 1; the shares divide that range in their order. The program does the same.
    """
    digest = hashlib.sha256(json.dumps([lab, building, scene_id]).encode()).digest()
    # Not sum(), which rounds otherwise in newer Pythons.
    place = int.from_bytes(digest[:8], "big") / 2**64 * (shares[0] + shares[1] + shares[2])
    if place < shares[0]:
        return SPLITS[0]
    return SPLITS[1] if place < shares[0] + shares[1] else SPLITS[2]
