"""Calls that cost money or time: limits, memory, and `run`, the one place that retries, paces, remembers and pays."""

from kullm.remote.driver import run
from kullm.remote.keys import api_key
from kullm.remote.limits import Limits
from kullm.remote.memory import Memory
from kullm.remote.retry_after import retry_after

__all__ = ["Limits", "Memory", "api_key", "retry_after", "run"]
