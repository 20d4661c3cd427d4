"""What a service allows."""

from __future__ import annotations

from dataclasses import dataclass

from kullm.errors import UsageError


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plug-in's service allows; `kullm.remote.run` keeps to it.

    `items` in one call; `bytes` of their texts in one call, counted as JSON with ASCII escapes, or None for no limit;
    calls `in_flight` at once; calls started `per_second`, or None for no limit.
    """

    items: int = 1
    bytes: int | None = None
    in_flight: int = 1
    per_second: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("items", self.items), ("bytes", self.bytes), ("in_flight", self.in_flight)):
            if value is not None and value < 1:
                raise UsageError(f"Limits({name}={value}): must be at least 1.")
        if self.per_second is not None and self.per_second <= 0:
            raise UsageError(f"Limits(per_second={self.per_second}): must be above 0.")
