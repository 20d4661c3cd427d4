"""DeepL, the paper's translator (section 3.1), through the official client.

Facts about the service: https://developers.deepl.com/docs (50 texts and 128 KiB a request; billed by source
characters).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kullm.errors import KeyRefused, Passing, QuotaSpent, Refused, ServiceDown, UnknownOutcome
from kullm.remote import Limits, api_key, retry_after

if TYPE_CHECKING:
    import deepl
    import requests

KEY = "DEEPL_AUTH_KEY"

_TARGETS = {"en": "EN-US", "pt": "PT-BR"}
"""Languages that DeepL wants with a region when it translates into them."""


@dataclass(frozen=True)
class DeepL:
    """Translates with DeepL. The key comes from DEEPL_AUTH_KEY or `key`; it stands in no repr and no error.

    `server_url` names another server (a proxy, a test server). `timeout`: seconds without a byte before a call
    counts as lost; generous, because a call that is given up may have been billed.
    """

    key: str | None = field(default=None, repr=False)
    server_url: str | None = None
    model_type: str | None = None
    in_flight: int = 8
    timeout: float = 120.0

    def __post_init__(self) -> None:
        self._secret()

    @property
    def identity(self) -> str:
        return f"deepl/{self.model_type or 'default'}" + (f"@{self.server_url}" if self.server_url else "")

    @property
    def limits(self) -> Limits:
        return Limits(items=50, bytes=120 * 1024, in_flight=self.in_flight, per_second=50)

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """One call to /v2/translate."""
        import deepl

        try:
            results = self._client.translate_text(
                list(texts),
                source_lang=source.upper(),
                target_lang=_TARGETS.get(target, target.upper()),
                preserve_formatting=True,
                model_type=self.model_type,
            )
        except deepl.AuthorizationException:
            raise KeyRefused("DeepL does not accept the key.", next=f"Check {KEY}.") from None
        except deepl.QuotaExceededException:
            raise QuotaSpent(
                "The DeepL account has no characters left.", next="Wait for the next period or raise its limit."
            ) from None
        except deepl.DeepLException as error:
            raise self._cause(error) from None
        found = [result.text for result in (results if isinstance(results, list) else [results])]
        if not found:  # the client makes an empty list of a page, half a reply and an empty one
            raise UnknownOutcome("DeepL answered with what holds no translation.")
        return found

    def _cause(self, error: deepl.DeepLException) -> Exception:
        import deepl

        status, what = error.http_status_code, f"DeepL: {error}"
        if isinstance(error, deepl.TooManyRequestsException):
            return Passing(what, retry_after=retry_after(self._headers))
        if isinstance(error, deepl.ConnectionException):
            refused = "refused" in what or "resolve" in what or "unreachable" in what
            return Passing(what) if refused else UnknownOutcome(what)
        if status in (400, 413):
            return Refused(what)
        if status == 401:
            return KeyRefused("DeepL does not accept the key.", next=f"Check {KEY}.")
        if status in (408, 409, 425) or (status or 0) >= 500:
            return Passing(what, retry_after=retry_after(self._headers))
        return ServiceDown(what)

    def _secret(self) -> str:
        return api_key(
            self.key, service="DeepL", variable=KEY, where="https://www.deepl.com/pro-api (there is a free plan)"
        )

    @property
    def _headers(self) -> Mapping[str, str]:
        """The headers of this thread's last answer: the client hides Retry-After."""
        return getattr(self._last, "headers", {})

    @cached_property
    def _last(self) -> threading.local:
        return threading.local()

    @cached_property
    def _client(self) -> deepl.DeepLClient:
        import deepl
        from deepl import http_client
        from requests.adapters import HTTPAdapter

        last = self._last

        class Noting(HTTPAdapter):
            def send(self, *args: Any, **settings: Any) -> requests.Response:
                last.headers = {}
                response = super().send(*args, **settings)
                last.headers = dict(response.headers)
                return response

        http_client.max_network_retries = 0  # kullm.remote alone retries
        http_client.min_connection_timeout = self.timeout
        client = deepl.DeepLClient(self._secret(), server_url=self.server_url, send_platform_info=False)
        for scheme in ("https://", "http://"):
            client._client._session.mount(scheme, Noting(pool_maxsize=self.in_flight))
        weakref.finalize(self, client.close)
        return client
