"""Any OpenAI-compatible service, through the official client: OpenAI, vLLM, SGLang, llama.cpp, Ollama, and
`transformers serve`.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kullm.errors import KeyRefused, Passing, QuotaSpent, Refused, ServiceDown, UnknownOutcome
from kullm.models.model import Completion, Prompt
from kullm.remote import Limits, api_key, retry_after
from kullm.rows import Failure

if TYPE_CHECKING:
    import openai

log = logging.getLogger("kullm")

KEY = "OPENAI_API_KEY"


@dataclass(frozen=True)
class OpenAI:
    """A chat model behind /v1/chat/completions. The key comes from OPENAI_API_KEY or `key`; it stands in no repr and
    no error.

    `base_url` names another server than OpenAI's; only an explicit one is used, never the environment's.
    `max_tokens` caps an answer; None leaves it, `top_p` and `presence_penalty` to the server. An answer with more
    tokens is kept, and a warning says once that the server does not keep to it. `timeout`: seconds without a byte
    before a call counts as lost.
    """

    name: str
    base_url: str = "https://api.openai.com/v1"
    key: str | None = field(default=None, repr=False)
    temperature: float | None = 0.0
    max_tokens: int | None = None
    in_flight: int = 20
    timeout: float = 120.0
    top_p: float | None = None
    presence_penalty: float | None = None

    def __post_init__(self) -> None:
        self._secret()

    @property
    def identity(self) -> str:
        where = "" if self.base_url == "https://api.openai.com/v1" else f"@{self.base_url}"
        more = "".join(
            f" {name}={value}"
            for name, value in (("top_p", self.top_p), ("presence_penalty", self.presence_penalty))
            if value is not None
        )
        return f"openai/{self.name}{where} temperature={self.temperature} max_tokens={self.max_tokens}{more}"

    @property
    def limits(self) -> Limits:
        return Limits(items=1, in_flight=self.in_flight)

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion | Failure]:
        """One request a prompt, its earlier turns as messages. A refusal or a filtered answer is a `Failure`."""
        return [self._ask(prompt) for prompt in prompts]

    def _ask(self, prompt: Prompt) -> Completion | Failure:
        import openai

        messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
        for turn in prompt.earlier:
            messages += [{"role": "user", "content": turn.prompt}, {"role": "assistant", "content": turn.answer}]
        settings = {
            "temperature": self.temperature, _limit_at(self.base_url): self.max_tokens,
            "top_p": self.top_p, "presence_penalty": self.presence_penalty,
        }  # fmt: skip
        try:
            create: Any = self._client.chat.completions.create
            reply = create(
                model=self.name,
                messages=[*messages, {"role": "user", "content": prompt.text}],
                **{name: value for name, value in settings.items() if value is not None},
            )
        except openai.APIStatusError as error:
            raise self._cause(error) from None
        except openai.APITimeoutError as error:
            raise UnknownOutcome(f"{self.base_url}: {error}") from None
        except openai.APIConnectionError as error:
            refused = "ConnectError" in type(error.__cause__).__name__
            what = f"{self.base_url}: {error} ({error.__cause__})"
            raise (Passing(what) if refused else UnknownOutcome(what)) from None
        except ValueError as error:  # half a JSON
            raise UnknownOutcome(f"{self.base_url} answered with what is not JSON: {error}") from None
        said = _completion(reply, self.base_url)
        tokens = getattr(said, "tokens", None)
        if self.max_tokens and isinstance(tokens, int) and tokens > self.max_tokens:
            _warn_once(self.base_url, self.name, self.max_tokens)
        return said

    def _cause(self, error: openai.APIStatusError) -> Exception:
        status, what = error.status_code, f"{self.base_url}: {_said(error)}"
        if status in (401, 403):
            return KeyRefused(f"{self.base_url} does not accept the key.", next=f"Check {KEY}.")
        if status == 404:
            return ServiceDown(what, next="Check the model's name and base_url.")
        if getattr(error, "code", None) == "insufficient_quota":
            return QuotaSpent(f"{self.base_url}: the account has no credit left.", next="Add credit or wait.")
        if status in (502, 504):  # a gateway gave up on work that may have been done
            return UnknownOutcome(what)
        if status in (408, 409, 425, 429) or status >= 500:
            return Passing(what, retry_after=retry_after(error.response.headers))
        return Refused(what) if status in (400, 413, 422) else ServiceDown(what)

    def _secret(self) -> str:
        where = "https://platform.openai.com/api-keys (a local server takes any key)"
        return api_key(self.key, service="OpenAI", variable=KEY, where=where)

    @cached_property
    def _client(self) -> openai.OpenAI:
        import openai

        client = openai.OpenAI(api_key=self._secret(), base_url=self.base_url, max_retries=0, timeout=self.timeout)
        weakref.finalize(self, client.close)
        return client


def _limit_at(base_url: str) -> str:
    """What a server calls `max_tokens`: newer models of OpenAI refuse this name, and other servers, such as Ollama
    (ollama/ollama#7125), ignore the newer one.
    """
    newer = (urlsplit(base_url).hostname or "").endswith(("api.openai.com", ".openai.azure.com"))
    return "max_completion_tokens" if newer else "max_tokens"


@cache
def _warn_once(base_url: str, name: str, most: int) -> None:
    log.warning("%s does not keep to max_tokens=%d: answers of %s have more tokens", base_url, most, name)


def _said(error: openai.APIStatusError) -> str:
    """The server's own words: those of a FastAPI server stand under `detail`, where the client does not look."""
    body: Any = error.body
    detail = body.get("detail") if isinstance(body, dict) else None
    return f"{error.message}: {detail}" if detail else error.message


def _completion(reply: Any, where: str) -> Completion | Failure:
    """The reply, checked: the client hands through HTML pages and replies without choices."""
    choices = getattr(reply, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise UnknownOutcome(f"{where} answered with what is not a chat completion.")
    message, reason = choices[0].message, choices[0].finish_reason or "unknown"
    if getattr(message, "refusal", None):
        return Failure("", "generate", f"the model refused: {message.refusal}")
    if reason == "content_filter":
        return Failure("", "generate", "the service's content filter stopped the answer")
    if not isinstance(message.content, str):
        return Failure("", "generate", "the model gave no text")
    usage = getattr(reply, "usage", None)
    return Completion(
        text=message.content,
        finish_reason=reason,
        prompt_tokens=getattr(usage, "prompt_tokens", None),
        tokens=getattr(usage, "completion_tokens", None),
    )
