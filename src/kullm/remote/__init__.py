"""Calls that cost money or time: limits, budget, memory, and `run`, the one place that retries, paces and pays."""

from kullm.remote.budget import Budget, Price, Tariff
from kullm.remote.desk import Instead, Settled
from kullm.remote.driver import run, stream
from kullm.remote.keys import api_key, safe
from kullm.remote.limits import Limits
from kullm.remote.memory import Memory
from kullm.remote.retry_after import retry_after
from kullm.remote.wire import Wire

__all__ = [
    "Budget",
    "Instead",
    "Limits",
    "Memory",
    "Price",
    "Settled",
    "Tariff",
    "Wire",
    "api_key",
    "retry_after",
    "run",
    "safe",
    "stream",
]
