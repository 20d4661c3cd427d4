"""What a translator is."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import ismethod
from types import CodeType
from typing import Protocol, TypeAlias, runtime_checkable

from kullm import plugins
from kullm.errors import UsageError
from kullm.remote import Limits, Price
from kullm.rows import Failure
from kullm.translators.spans import PLAIN, XML, Style


@runtime_checkable
class Translator(Protocol):
    """Translates texts and knows one service; order, money, time, retries and the protection of spans are
    `translate`'s.

    It may have further attributes, all read-only. `placeholder`: how a protected span is shown in a text, with {} for
    its number. `options`: names of arguments that its `translate` takes as well, "context" (earlier turns of the
    conversation, in the source language) and "xml" (a bool: the texts are XML with empty tags for spans). `unit`, what
    is billed, "characters" or "tokens"; `cost(text)`, or `cost(text, context)` where there is a context, an upper bound
    of what a text costs in that unit; `price`, a `kullm.remote.Price`. `whole`: True where texts are wanted as they
    stand in the row, spans and all.
    """

    @property
    def identity(self) -> str:
        """Same identity + same text = same translation: part of the key of the memory."""
        ...

    @property
    def limits(self) -> Limits:
        """What one call may hold, and how many there may be."""
        ...

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> Sequence[str | Failure]:
        """One translation for each text, in order. `source` and `target` are ISO 639-1 codes in lower case."""
        ...


AnyTranslator: TypeAlias = Translator | Callable[..., Sequence[str]] | str


@dataclass(frozen=True)
class Engine:
    """A translator with what it may leave out filled in."""

    plugin: Translator
    style: Style
    options: tuple[str, ...]
    unit: str
    price: Price | None
    whole: bool

    def cost(self, text: str, context: str = "") -> int:
        """What sending a text may cost, in `unit`."""
        own: Callable[..., float] | None = getattr(self.plugin, "cost", None)
        if own is None:
            return len(text)
        return math.ceil(own(text, context) if context else own(text))


def engine(translator: AnyTranslator, price: Price | str | None = None) -> Engine:
    """The engine of a plug-in, of its name, or of a plain function. Raises `UsageError` for what is none of them."""
    plugin = _plugin(translator)
    options = tuple(getattr(plugin, "options", ()))
    own = getattr(plugin, "placeholder", None)
    unit = str(getattr(plugin, "unit", "characters"))
    if isinstance(price, str):
        price = Price.of(price, unit)
    return Engine(
        plugin=plugin,
        style=XML if "xml" in options else Style(own) if own else PLAIN,
        options=options,
        unit=unit,
        price=price or getattr(plugin, "price", None),
        whole=bool(getattr(plugin, "whole", False)),
    )


def _plugin(translator: AnyTranslator) -> Translator:
    if isinstance(translator, str):
        translator = plugins.find("translators", translator)
    if isinstance(translator, Translator) and not isinstance(translator, type):
        return translator
    if callable(translator) and hasattr(translator, "__qualname__") and not isinstance(translator, type):
        if ismethod(translator):
            raise UsageError(
                f"{translator.__qualname__} is a method, and what it does may depend on its object.",
                next="Give the object an `identity`, `limits` and `translate`, and hand over the object.",
            )
        return _Function(translator)
    raise UsageError(
        f"{translator!r} is not a translator: it needs identity, limits and translate(texts, *, source, target).",
        next="An object is wanted, not its class; kullm.testing.check_translator says what is missing.",
    )


def _told(value: object) -> str:
    """Code or a plain value as a text that every process makes alike; "?" for anything else."""
    if isinstance(value, CodeType):
        return f"{value.co_code.hex()} {value.co_names} {_told(value.co_consts)}"
    if type(value) is tuple:
        return f"({', '.join(map(_told, value))})"
    if type(value) is frozenset:  # `in {"a", "b"}` makes one in the code
        return f"{{{', '.join(sorted(map(_told, value)))}}}"
    return repr(value) if value is None or type(value) in (str, bytes, bool, int, float, complex) else "?"


@dataclass(frozen=True)
class _Function:
    """A plain function as a translator."""

    translate: Callable[..., Sequence[str]]

    @property
    def identity(self) -> str:
        """Its name, and a hash of what it does, the same in every process: two functions of one name differ.

        The hash is of its code, and of the defaults and the values around it that are texts, numbers, bools, None or
        tuples of them. Objects, globals and other functions that it uses are left out: where the translation depends
        on them, write a class with an `identity` of your own.
        """
        does = self.translate
        code: CodeType | None = getattr(does, "__code__", None)
        around = zip(code.co_freevars if code else (), getattr(does, "__closure__", None) or (), strict=False)
        named = getattr(does, "__kwdefaults__", None) or {}
        what = [
            _told(code),
            *(f"{name}={_told(cell.cell_contents)}" for name, cell in around),
            _told(getattr(does, "__defaults__", None)),
            *(f"{name}={_told(named[name])}" for name in sorted(named)),
        ]
        digest = hashlib.sha256("\n".join(what).encode("utf-8", "surrogatepass")).hexdigest()[:12]
        return f"function/{does.__module__}.{does.__qualname__}/{digest}"

    @property
    def limits(self) -> Limits:
        return Limits(items=16)
