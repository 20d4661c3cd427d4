"""Statistics of small evaluations: means with intervals, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval. With fewer than two values there is no interval: `low` and `high` are NaN."""

    mean: float
    low: float
    high: float
    n: int
    failures: int = 0


def mean(values: Sequence[float], *, binary: bool = False, failures: int = 0, level: float = 0.95) -> Estimate:
    """The mean of `values` with a t interval, or Wilson's where they are shares of 0 and 1 (`binary`).

    Wilson (1927) keeps its coverage at shares near 0 and 1, where the t interval does not. No value: NaN throughout.
    """
    n = len(values)
    if not n:
        return Estimate(math.nan, math.nan, math.nan, 0, failures)
    middle = math.fsum(values) / n
    if binary and set(values) <= {0.0, 1.0}:
        low, high = _wilson(middle, n, level)
    else:
        half = _half(values, middle, level)
        low, high = middle - half, middle + half
    return Estimate(middle, low, high, n, failures)


def paired(first: Mapping[str, float], second: Mapping[str, float], *, level: float = 0.95) -> Estimate:
    """The mean of second - first over the items that both have, with a t interval of the differences."""
    differences = [second[item] - first[item] for item in first if item in second]
    return mean(differences, level=level, failures=len(first.keys() ^ second.keys()))


def _half(values: Sequence[float], middle: float, level: float) -> float:
    from scipy.special import stdtrit

    n = len(values)
    if n < 2:
        return math.nan
    variance = math.fsum((value - middle) ** 2 for value in values) / (n - 1)
    return float(stdtrit(n - 1, (1 + level) / 2)) * math.sqrt(variance / n)


def _wilson(share: float, n: int, level: float) -> tuple[float, float]:
    from statistics import NormalDist

    z = NormalDist().inv_cdf((1 + level) / 2)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    middle, scale = share + z * z / (2 * n), 1 + z * z / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
