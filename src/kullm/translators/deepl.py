"""DeepL, the paper's translator (section 3.1), through the official client.

Facts about the service: https://developers.deepl.com/docs (50 texts and 128 KiB a request; billed by source
characters; tags and context are not billed).
"""

from __future__ import annotations

import hashlib
import json
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from kullm.errors import KeyRefused, Passing, QuotaSpent, Refused, ServiceDown, UnknownOutcome, UsageError
from kullm.remote import Limits, Price, Wire, api_key, retry_after, safe
from kullm.remote.packing import size
from kullm.rows import Failure

if TYPE_CHECKING:
    import deepl

KEY = "DEEPL_AUTH_KEY"
PRO = Price(Decimal(20), "EUR", as_of="2023-11", source="DeepL API Pro, beside its monthly base price")
"""0.00002 EUR a character, by DeepL's help centre, "Character count and billing in DeepL API"."""

_TARGETS = {"en": "EN-US", "pt": "PT-BR"}
"""Languages that DeepL wants with a region when it translates into them."""
_TAGS = {"tag_handling": "xml", "tag_handling_version": "v2"}
_BYTES = 120 * 1024
"""Of texts and instructions in a request of at most 128 KiB, which holds more than them."""
_XML_BYTES = 72 * 1024
_AGENT = f"kullm/{version('kullm')}"


@dataclass(frozen=True)
class DeepL:
    """Translates with DeepL. The key comes from DEEPL_AUTH_KEY or `key`; it stands in no repr and no error.

    `server_url` names another server (a proxy, a test server). `instructions` are sentences on style and register, at
    most 10 of 300 characters: Korean has no formality setting. `glossaries`: ids, at most 5. `in_flight` and
    `per_second`: calls at once and calls started a second; DeepL's staff advise 50. `timeout`: seconds after which a
    call counts as lost; generous, because a call that is given up may have been billed.
    """

    key: str | None = field(default=None, repr=False)
    server_url: str | None = None
    model_type: str | None = None
    instructions: tuple[str, ...] = ()
    glossaries: tuple[str, ...] = ()
    formality: str | None = None
    in_flight: int = 8
    per_second: float | None = 50.0
    timeout: float = 120.0
    options: ClassVar[tuple[str, ...]] = ("context", "xml")
    unit: ClassVar[str] = "characters"

    def __post_init__(self) -> None:
        for name in ("instructions", "glossaries"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        if len(self.instructions) > 10 or any(len(text) > 300 for text in self.instructions):
            raise UsageError("DeepL takes at most 10 instructions of 300 characters.")
        if len(self.glossaries) > 5:
            raise UsageError("DeepL takes at most 5 glossaries.")
        if self.server_url and not safe(self.server_url):
            raise UsageError(f"{self.server_url}: the key and the texts would travel unencrypted.", next="Use https.")
        self._secret()

    @property
    def identity(self) -> str:
        more: list[Any] = [self.formality, *self.instructions]
        more += [list(self.glossaries)] if self.glossaries else []
        digest = f"+{hashlib.sha256(json.dumps(more).encode()).hexdigest()[:8]}" if any(more) else ""
        return f"deepl/{self.model_type or 'default'}{digest}" + (f"@{self.server_url}" if self.server_url else "")

    @property
    def limits(self) -> Limits:
        return Limits(50, _BYTES - self._orders, self.in_flight, self.per_second, self.timeout)

    @property
    def xml_bytes(self) -> int:
        """Requests with tags fail above some 76 KiB, below the documented limit (deepl-node#33)."""
        return _XML_BYTES - self._orders

    @property
    def allowance(self) -> int | None:
        """Characters a month that cost nothing, with a key of the free plan (DeepL's "Usage and limits")."""
        return 500_000 if self._secret().endswith(":fx") else None

    @property
    def price(self) -> Price | None:
        """The price of a million characters on the Pro plan, for DeepL's own server; None on the free plan."""
        return None if self.allowance or self.server_url else PRO

    def translate(
        self, texts: Sequence[str], *, source: str, target: str, context: str = "", xml: bool = False
    ) -> list[str | Failure]:
        """One call to /v2/translate."""
        import deepl

        if self.formality in ("less", "more") and target.lower() == "ko":
            raise UsageError("DeepL has no formality for Korean.", next="Say the register in `instructions`.")
        more: dict[str, Any] = {"context": context or None, "custom_instructions": list(self.instructions) or None}
        more |= {"glossary_ids": list(self.glossaries) or None, "formality": self.formality}
        more |= _TAGS if xml else {}
        client: Any = self._client
        client._client.last.content = ""
        try:
            results = client.translate_text(
                list(texts),
                source_lang=source.upper().partition("-")[0],
                target_lang=_TARGETS.get(target, target.upper()),
                preserve_formatting=True,
                model_type=self.model_type,
                **{name: value for name, value in more.items() if value is not None},
            )
        except deepl.AuthorizationException:
            raise KeyRefused("DeepL does not accept the key.", next=f"Check {KEY}.") from None
        except deepl.QuotaExceededException:
            raise QuotaSpent(
                "The DeepL account has no characters left.", next="Wait for the next period or raise its limit."
            ) from None
        except deepl.DeepLException as error:
            raise _cause(error, client._client.last.headers) from None
        except (AttributeError, TypeError, KeyError, ValueError):  # the client trips over an answer of another shape
            return _texts(client._client.last.content)
        found: list[str | Failure] = [result.text for result in (results if isinstance(results, list) else [results])]
        if not found:  # the client makes an empty list of a page, half a reply and an empty one
            raise UnknownOutcome("DeepL answered with what holds no translation.")
        return found

    def used(self) -> tuple[int, int | None]:
        """Characters of this period that the account has used, and its limit or None. One request, not billed."""
        import deepl

        try:
            usage = self._client.get_usage().character
        except deepl.AuthorizationException:
            raise KeyRefused("DeepL does not accept the key.", next=f"Check {KEY}.") from None
        except deepl.DeepLException as error:
            raise ServiceDown(f"DeepL does not say what was used: {error}") from None
        return usage.count or 0, usage.limit if usage.limit_exceeded or (usage.limit or 0) < 10**12 else None

    @property
    def _orders(self) -> int:
        """The bytes of a request that the instructions take."""
        return sum(map(size, self.instructions))

    def _secret(self) -> str:
        return api_key(
            self.key, service="DeepL", variable=KEY, where="https://www.deepl.com/pro-api (there is a free plan)"
        )

    @cached_property
    def _client(self) -> deepl.DeepLClient:
        import deepl
        from deepl.http_client import HttpClient

        client = deepl.DeepLClient(self._secret(), server_url=self.server_url, send_platform_info=False)
        wire = Wire(client.server_url, self.in_flight, self.timeout)

        class Once(HttpClient):
            """The client's connection without its retries: `kullm.remote` alone retries."""

            last = threading.local()
            """`content` and `headers` of this thread's last answer."""

            def request_with_backoff(
                self, method: str, url: str, data: Any, json: Any, headers: dict[str, str], stream: bool = False,
                **_: Any,
            ) -> Any:  # fmt: skip
                headers = {"User-Agent": _AGENT, "Content-Type": "application/json"} | headers
                reply = wire.call(method, urlsplit(url).path, headers, None if json is None else _json(json))
                self.last.headers, self.last.content = reply.headers, reply.body.decode("utf-8", "replace")
                return reply.status, self.last.content

        client._client = Once(send_platform_info=False)
        weakref.finalize(self, wire.close)
        return client


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()


def _cause(error: deepl.DeepLException, headers: Mapping[str, str]) -> Exception:
    """The error of ours for one of the client, which hides the headers."""
    import deepl

    status, what = error.http_status_code, f"DeepL: {error}"
    if isinstance(error, deepl.TooManyRequestsException):
        return Passing(what, retry_after=retry_after(headers))
    if status in (400, 413):
        return Refused(what)
    if status == 401:
        return KeyRefused("DeepL does not accept the key.", next=f"Check {KEY}.")
    if status in (502, 504):  # a gateway gave up on work that may have been done
        return UnknownOutcome(what)
    if status in (408, 409, 425) or (status or 0) >= 500:
        return Passing(what, retry_after=retry_after(headers))
    return ServiceDown(what)


def _texts(content: str) -> list[Any]:
    """The texts of an answer that the client trips over, None where there is none."""
    try:
        found = [one.get("text") if isinstance(one, dict) else None for one in json.loads(content)["translations"]]
    except (TypeError, KeyError, ValueError):
        found = []
    if not any(isinstance(text, str) for text in found):
        raise UnknownOutcome("DeepL answered with what is not a list of translations.")
    return found
