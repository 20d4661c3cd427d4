"""What a service allows."""

from __future__ import annotations

from dataclasses import dataclass

from kullm.errors import UsageError


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plug-in's service allows; `kullm.remote.run` keeps to it.

    `items` in one call; `bytes` of their texts in one call, counted as JSON with ASCII escapes, or None for no limit;
    calls `in_flight` at once; calls started `per_second`, or None for no limit; `deadline`: seconds after which a call
    is given up as lost, by the monotonic clock, or None for work on this machine, which may take its time.
    """

    items: int = 1
    bytes: int | None = None
    in_flight: int = 1
    per_second: float | None = None
    deadline: float | None = 600.0

    def __post_init__(self) -> None:
        for name, value in (("items", self.items), ("bytes", self.bytes), ("in_flight", self.in_flight)):
            if value is not None and value < 1:
                raise UsageError(f"Limits({name}={value}): must be at least 1.")
        for name, most in (("per_second", self.per_second), ("deadline", self.deadline)):
            if most is not None and not most > 0:
                raise UsageError(f"Limits({name}={most}): must be above 0.")
