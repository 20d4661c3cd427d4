"""Statistics of small evaluations: means with intervals, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval. With fewer than two values there is no interval: `low` and `high` are NaN."""

    mean: float
    low: float
    high: float
    n: int
    failures: int = 0


def mean(
    values: Sequence[float],
    *,
    within: tuple[float, float] = (-math.inf, math.inf),
    failures: int = 0,
    level: float = 0.95,
) -> Estimate:
    """The mean of `values` with a t interval, cut at the range `within`; Wilson's where that is 0–1 and all are 0 or 1.

    Wilson (1927) keeps its coverage at shares near 0 and 1, where the t interval does not. No value: NaN throughout.
    """
    n = len(values)
    if not n:
        return Estimate(math.nan, math.nan, math.nan, 0, failures)
    middle = math.fsum(values) / n
    if within == (0.0, 1.0) and set(values) <= {0.0, 1.0}:
        low, high = _wilson(middle, n, level)
    else:
        half = _half(values, middle, level)
        low, high = middle - half, middle + half
        if n > 1:
            low, high = max(within[0], low), min(within[1], high)
    return Estimate(middle, low, high, n, failures)


def paired(
    first: Mapping[str, float],
    second: Mapping[str, float],
    *,
    within: tuple[float, float] = (-math.inf, math.inf),
    level: float = 0.95,
) -> Estimate:
    """The mean of second - first over the items that both have, with a t interval of the differences.

    `within` is the range of the values. Where it is 0–1 and all are 0 or 1 the interval is Agresti and Min's (2005),
    which does not shrink to nothing where the two agree on every item.
    """
    both = [item for item in first if item in second]
    differences = [second[item] - first[item] for item in both]
    values = {value for item in both for value in (first[item], second[item])}
    width = within[1] - within[0]
    found = mean(differences, within=(-width, width), failures=len(first.keys() ^ second.keys()), level=level)
    if not both or within != (0.0, 1.0) or not values <= {0.0, 1.0}:
        return found
    gained, lost, n = differences.count(1) + 0.5, differences.count(-1) + 0.5, len(both) + 2
    middle = (gained - lost) / n
    spread = _z(level) * math.sqrt(gained + lost - (gained - lost) ** 2 / n) / n
    return replace(found, low=max(-1.0, middle - spread), high=min(1.0, middle + spread))


def _half(values: Sequence[float], middle: float, level: float) -> float:
    from scipy.special import stdtrit

    n = len(values)
    if n < 2:
        return math.nan
    variance = math.fsum((value - middle) ** 2 for value in values) / (n - 1)
    return float(stdtrit(n - 1, (1 + level) / 2)) * math.sqrt(variance / n)


def _wilson(share: float, n: int, level: float) -> tuple[float, float]:
    z = _z(level)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    middle, scale = share + z * z / (2 * n), 1 + z * z / n
    low, high = (middle - spread) / scale, (middle + spread) / scale
    return (0.0 if share == 0 else low), (1.0 if share == 1 else high)


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
