"""What a memory writes down of calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that is about to be made: who answers, how many items, and what it may cost in the service's units."""

    identity: str
    items: int
    units: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """How the call of that number ended ("answered", "failed", "unknown") and what it brought, by item."""

    call: int
    outcome: str
    identity: str = ""
    answers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """What a memory holds of one identity. `units`: billed, in the service's unit; `unknown`: perhaps billed."""

    identity: str
    about: Mapping[str, Any]
    answers: int
    calls: int
    units: int
    unknown: int
