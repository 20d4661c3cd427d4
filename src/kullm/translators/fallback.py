"""Two translators as one: what the first cannot translate goes to the second."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from kullm.errors import Refused, ServiceError, UnknownOutcome
from kullm.remote import Limits
from kullm.rows import Failure
from kullm.translators.translator import Translator

_PLACEHOLDER = "⟦{}⟧"


@runtime_checkable
class Knows(Protocol):
    """A translator that can say, free of charge, whether it has the translation of a text."""

    def knows(self, text: str) -> bool: ...


@dataclass(frozen=True)
class Fallback:
    """Asks `first`, and `second` for what `first` fails on: a `Failure`, an empty text, or a text that it refuses.

    A `first` that `knows` its texts (`Recorded`) is asked for those alone. A service that stops (a spent quota, a
    refused key) stops the run, unless `on_service_error` sends its texts to `second`. Nest it for more than two.
    """

    first: Translator
    second: Translator
    on_service_error: bool = False
    _held: dict[tuple[str, ...], str | Failure] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What `first` has answered in calls that `second` has not finished: it is not asked, and paid, again."""

    @property
    def identity(self) -> str:
        """Both identities: either may have made a translation."""
        return f"fallback({self.first.identity} | {self.second.identity})"

    @property
    def limits(self) -> Limits:
        """The smaller of both limits; the time for a call is that of both, as one waits for the other."""
        one, two = self.first.limits, self.second.limits
        both = (one.deadline, two.deadline)
        return Limits(
            items=min(one.items, two.items),
            bytes=_smaller(one.bytes, two.bytes),
            in_flight=min(one.in_flight, two.in_flight),
            per_second=_smaller(one.per_second, two.per_second),
            deadline=None if None in both else sum(filter(None, both)),
        )

    @property
    def placeholder(self) -> str:
        """The first's; texts for the second are rewritten to its own."""
        return _style(self.first)

    @property
    def whole(self) -> bool:
        """Whether both want texts as they stand in a row."""
        return all(getattr(engine, "whole", False) for engine in (self.first, self.second))

    @property
    def options(self) -> tuple[str, ...]:
        """What both understand."""
        theirs = _options(self.second)
        return tuple(name for name in _options(self.first) if name in theirs)

    @property
    def unit(self) -> str:
        """What both bill. Where they bill different units, both names: no budget in one of them covers it."""
        free = isinstance(self.first, Knows)
        units = dict.fromkeys([] if free else [getattr(self.first, "unit", "characters")])
        return " and ".join(units | {getattr(self.second, "unit", "characters"): None})

    def cost(self, text: str) -> float:
        """An upper bound, in `unit`: what both cost, or nothing for a text that `first` knows."""
        if isinstance(self.first, Knows):
            return 0.0 if self.first.knows(text) else _cost(self.second, text)
        return _cost(self.first, text) + _cost(self.second, text)

    def translate(self, texts: Sequence[str], *, source: str, target: str, **options: Any) -> list[str | Failure]:
        """One translation, or the `Failure` of both, for each text in order."""
        call = {"source": source, "target": target, **options}
        done = self._first(list(texts), call)
        lost = {place: said for place, said in enumerate(done) if isinstance(said, Failure)}
        for place, said in zip(lost, self._second([texts[place] for place in lost], call), strict=True):
            done[place] = _both(lost[place], said) if isinstance(said, Failure) else said
        for text in texts:
            self._held.pop(_key(text, call), None)
        return done

    def _first(self, texts: list[str], call: dict[str, Any]) -> list[str | Failure]:
        """What the first says to each text; a `Failure` where it says nothing."""
        knows = self.first.knows if isinstance(self.first, Knows) else None
        new = [text for text in dict.fromkeys(texts) if _key(text, call) not in self._held]
        asked = [text for text in new if knows is None or knows(text)]
        try:
            said = _asked(self.first, asked, call)
        except Refused as error:
            if len(asked) > 1:
                raise  # the batch is halved until the text stands alone
            said = [Failure("", "translate", error.what)]
        except ServiceError as error:
            if not self.on_service_error:
                raise
            said = [Failure("", "translate", error.what) for _ in asked]
        unknown = Failure("", "translate", "there is no recorded translation")
        answers: dict[str, str | Failure] = dict.fromkeys(new, unknown)
        answers |= {text: _usable(one) for text, one in zip(asked, said, strict=True)}
        self._held.update({_key(text, call): one for text, one in answers.items()})
        return [self._held[_key(text, call)] for text in texts]

    def _second(self, texts: list[str], call: dict[str, Any]) -> list[str | Failure]:
        """What the second says, asked with placeholders of its own style."""
        ours, theirs = _style(self.first), _style(self.second)
        if ours == theirs:
            return _asked(self.second, texts, call)
        said = _asked(self.second, [_restyled(text, ours, theirs) for text in texts], call)
        return [
            one if isinstance(one, Failure) else _restyled(one, theirs, ours, _numbers(text, ours))
            for text, one in zip(texts, said, strict=True)
        ]


def _asked(engine: Translator, texts: Sequence[str], call: dict[str, Any]) -> list[str | Failure]:
    """What a translator gives, one for each text; nothing is asked where there is none."""
    if not texts:
        return []
    said = list(engine.translate(texts, **call))
    if len(said) != len(texts):
        raise UnknownOutcome(f"{engine.identity}: sent {len(texts)} text(s) and got {len(said)} back")
    return said


def _usable(said: object) -> str | Failure:
    if isinstance(said, str) and said.strip():
        return said
    return said if isinstance(said, Failure) else Failure("", "translate", "the translation is empty")


def _both(first: Failure, second: Failure) -> Failure:
    return Failure(second.id, second.stage, f"{second.cause}; before that: {first.cause}", second.remedy)


def _key(text: str, call: dict[str, Any]) -> tuple[str, ...]:
    return (text, *(f"{name}={value}" for name, value in sorted(call.items())))


def _style(engine: Translator) -> str:
    return str(getattr(engine, "placeholder", _PLACEHOLDER))


def _options(engine: Translator) -> tuple[str, ...]:
    return tuple(getattr(engine, "options", ()))


def _cost(engine: Translator, text: str) -> float:
    cost = getattr(engine, "cost", None)
    return float(len(text) if cost is None else cost(text))


def _pattern(style: str) -> re.Pattern[str]:
    before, _, after = style.partition("{}")
    return re.compile(f"{re.escape(before)}([0-9]+){re.escape(after)}")


def _numbers(text: str, style: str) -> set[str]:
    return set(_pattern(style).findall(text))


def _restyled(text: str, old: str, new: str, only: set[str] | None = None) -> str:
    """`text` with placeholders of the style `old` in the style `new`; with `only`, those of these numbers alone."""

    def other(place: re.Match[str]) -> str:
        return place[0] if only is not None and place[1] not in only else new.replace("{}", place[1])

    return _pattern(old).sub(other, text)


def _smaller(one: Any, two: Any) -> Any:
    there = [value for value in (one, two) if value is not None]
    return min(there) if there else None
