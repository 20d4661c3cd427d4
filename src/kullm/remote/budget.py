"""What may be spent: reserved before a call, so that no race overspends."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

from kullm.errors import UsageError

T = TypeVar("T")
_PRICE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)\s+([A-Za-z]{2,5})")


@dataclass(frozen=True, slots=True)
class Price:
    """What a service asks for: `amount` of `currency` for a million `unit`s, by a price list of the day `as_of`."""

    amount: Decimal
    currency: str
    unit: str = "characters"
    as_of: str = ""
    source: str = ""

    @classmethod
    def of(cls, text: str, unit: str = "characters") -> Price:
        """A price as it is written on a command line: "20 EUR" for a million."""
        found = _PRICE.fullmatch(text.strip())
        if not found:
            raise UsageError(f"{text!r} is not a price; write what a million {unit} cost, such as '20 EUR'.")
        return cls(Decimal(found[1]), found[2].upper(), unit, source="given by the caller")

    def money(self, units: int) -> Decimal:
        """What that many units cost."""
        return self.amount * units / 1_000_000

    def __str__(self) -> str:
        origin = ", ".join(part for part in (self.source, self.as_of) if part)
        return f"{self.amount} {self.currency} a million {self.unit}{f' ({origin})' if origin else ''}"


class Budget:
    """The most that may be spent through this object: `characters`, `tokens`, or `money` in the price's currency.

    Every call reserves its cost before it is made. A call that was not billed gives it back; one of unknown outcome
    does not. One budget may serve several runs, in several threads; it counts what goes through it, not what earlier
    runs spent.
    """

    def __init__(
        self,
        *,
        characters: int | str | None = None,
        tokens: int | str | None = None,
        money: Decimal | float | str | None = None,
    ) -> None:
        self._most: dict[str, Decimal] = {}
        for name, value in (("characters", characters), ("tokens", tokens), ("money", money)):
            if value is None:
                continue
            try:
                amount = Decimal(str(value))
            except ArithmeticError:
                amount = Decimal("NaN")
            if not amount.is_finite() or amount < 0:
                raise UsageError(f"The budget of {name} is {value!r}; expected a number, 0 or more.")
            self._most[name] = amount
        if not self._most:
            raise UsageError("A budget limits characters, tokens or money; none was given.")
        self._spent: dict[str, Decimal] = dict.fromkeys(self._most, Decimal(0))
        self._currency = ""
        self._lock = threading.Lock()

    @property
    def spent(self) -> dict[str, Decimal]:
        """What was reserved and not given back, by kind."""
        with self._lock:
            return dict(self._spent)

    @property
    def left(self) -> dict[str, Decimal]:
        """What may still be spent, by kind."""
        with self._lock:
            return {name: most - self._spent[name] for name, most in self._most.items()}

    def check(self, unit: str, price: Price | None) -> None:
        """Raise `UsageError` where this budget cannot limit a service that bills `unit` at `price`."""
        if "money" in self._most and price is None:
            raise UsageError(
                "A budget in money needs a price, and the price of this service is unknown.",
                next="Give the price of a million, or a budget in units.",
            )
        if "money" in self._most and price is not None:
            with self._lock:
                self._currency = self._currency or price.currency
            if price.currency != self._currency:
                raise UsageError(f"This budget counts {self._currency}; the price is in {price.currency}.")
        if not {unit, "money"} & set(self._most):
            raise UsageError(f"This service bills {unit}; the budget limits {', '.join(self._most)}.")

    def reserve(self, units: int, unit: str, price: Price | None) -> bool:
        """Take the cost of a call if all of it is left, else take nothing and give False."""
        wanted = self._cost(units, unit, price)
        with self._lock:
            if any(self._spent[name] + amount > self._most[name] for name, amount in wanted.items()):
                return False
            for name, amount in wanted.items():
                self._spent[name] += amount
            return True

    def release(self, units: int, unit: str, price: Price | None) -> None:
        """Give back what a call that was not billed had reserved."""
        with self._lock:
            for name, amount in self._cost(units, unit, price).items():
                self._spent[name] -= amount

    def _cost(self, units: int, unit: str, price: Price | None) -> dict[str, Decimal]:
        cost: dict[str, Any] = {unit: Decimal(units)}
        if price is not None:
            cost["money"] = price.money(units)
        return {name: amount for name, amount in cost.items() if name in self._most}

    def __str__(self) -> str:
        left = self.left
        return ", ".join(f"{most - left[name]:f} of {most:f} {name}" for name, most in self._most.items())

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class Tariff(Generic[T]):
    """What items cost: `cost` in the service's `unit`, its `price` where known, and the budget if there is one."""

    cost: Callable[[T], int]
    unit: str = "characters"
    price: Price | None = None
    budget: Budget | None = None
