"""How fast a service is asked: starts per second, calls in flight, and the pauses that it asks for."""

from __future__ import annotations

import logging
import random
import time

from kullm.errors import Passing, ServiceDown
from kullm.remote.limits import Limits

log = logging.getLogger("kullm")

_LONGEST = 600.0
"""The longest wait, in seconds, that a service may ask for before the run stops and says so."""
_CATCH_UP = 0.05
"""Seconds that a late start may be made up for, so that the rate is held on average."""


class Pace:
    """One gate for all workers of a run, and the number of calls that may be in flight.

    Calls in flight halve when the service says that it is too much, once for all calls that were on their way, and
    grow by one a round of answers, up to the limit: what DeepL's documentation and TCP do. `tries` rounds of failures
    without one answer between them stop the run: the service is down.
    """

    def __init__(self, limits: Limits, stage: str, tries: int) -> None:
        self.limits, self.stage, self.tries = limits, stage, tries
        self.allowed = float(limits.in_flight)
        self.gate = time.monotonic()
        """No call starts before this moment (monotonic seconds)."""
        self._rounds = 0
        self._slowed = 0.0
        self.answered = 0.0
        """When the service last gave an answer (monotonic seconds)."""

    def wait(self) -> float:
        """The seconds until the next call may start; 0 or less: now."""
        return self.gate - time.monotonic()

    def started(self) -> None:
        if self.limits.per_second:
            self.gate = max(self.gate, time.monotonic() - _CATCH_UP) + 1 / self.limits.per_second

    def good(self) -> None:
        """A call was answered."""
        self._rounds = 0
        self.answered = time.monotonic()
        self.allowed = min(float(self.limits.in_flight), self.allowed + 1 / self.allowed)

    def bad(self, error: Passing, started: float, *, last: bool = True) -> None:
        """A call that began at `started` failed and may work later: hold all calls back, a jitter on top of what the
        service asks for. Raises `ServiceDown` where that is too long, or, if `last`, was too often.
        """
        asked = error.retry_after or 0.0
        if asked > _LONGEST:
            raise ServiceDown(f"{self.stage}: the service asks to wait {asked:.0f} s: {error.what}") from error
        if started >= self._slowed:  # the calls that were on their way with it say nothing new
            self._rounds += 1
            self.allowed = max(1.0, self.allowed / 2)
            self._slowed = time.monotonic()
        if last and self._rounds >= self.tries:
            raise ServiceDown(f"{self.stage}: tried {self.tries} times, the last time: {error.what}") from error
        pause = asked + random.uniform(0.5, 1.0) * min(60.0, 0.5 * 2**self._rounds)
        if pause > 5:
            log.info("%s: waiting %.0f s, as %s", self.stage, pause, error.what)
        self.gate = max(self.gate, time.monotonic() + pause)
