"""The wait that a service asks for."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the headers `Retry-After` (seconds or a date) and `retry-after-ms`, or None."""
    wait = _asked({name.lower(): value.strip() for name, value in headers.items()})
    return wait if wait is not None and math.isfinite(wait) else None


def _asked(low: Mapping[str, str]) -> float | None:
    try:
        if "retry-after-ms" in low:
            return max(0.0, float(low["retry-after-ms"]) / 1000)
        if "retry-after" not in low:
            return None
        value = low["retry-after"]
        if value.replace(".", "", 1).isdigit():
            return float(value)
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
