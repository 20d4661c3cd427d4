"""Which keys cannot be in a memory, so that nobody has to look: a run asks mostly for what is new."""

from __future__ import annotations

from collections.abc import Iterable

_BITS = 2**26


class Seen:
    """Keys that were seen, and a few that were not; never denies one that was (Bloom 1970, two bits a key).

    Takes 8 MiB; with 4 million keys in it, it is wrong about one in a hundred others.
    """

    def __init__(self) -> None:
        self._bits = bytearray(_BITS // 8)

    def add(self, keys: Iterable[bytes]) -> None:
        """Each key is a hash, of 8 bytes or more."""
        bits = self._bits
        for key in keys:
            one, other = _places(key)
            bits[one >> 3] |= 1 << (one & 7)
            bits[other >> 3] |= 1 << (other & 7)

    def __contains__(self, key: bytes) -> bool:
        one, other = _places(key)
        bits = self._bits
        return bool(bits[one >> 3] & 1 << (one & 7) and bits[other >> 3] & 1 << (other & 7))


def _places(key: bytes) -> tuple[int, int]:
    number = int.from_bytes(key[:8], "little")
    return number % _BITS, (number >> 32) % _BITS
