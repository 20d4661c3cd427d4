"""For plug-in authors and for kullm's own tests: contract checks, a fake translator, local DeepL and OpenAI servers.

The servers speak over a real socket to the official clients, keep a ledger of what was billed, and can be hostile.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal, Self, TypeAlias, cast, get_args

from kullm.errors import KullmError, Refused, UsageError
from kullm.remote import Limits
from kullm.remote.driver import pack
from kullm.rows import Answer, Batch, Example, Failure, Judgment

Translations: TypeAlias = Mapping[str, str] | Callable[[str], str]
Kind: TypeAlias = Literal["status", "reset", "half", "short", "empty", "html", "slow"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A hostile mode of a test server for the calls numbered `requests`: from 0, in order of arrival, look-ups apart.

    status: `status`, with the header Retry-After where `retry_after` is given; nothing is billed. The others strike
    after the work was done and billed: reset (the connection is closed without an answer), half (half of the JSON),
    short (one item fewer: a translation, the choice), empty (no body), html (a page), slow (`seconds` later).
    """

    kind: Kind
    requests: Collection[int] = (0,)
    status: int = 503
    retry_after: str | None = None
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UsageError(f"There is no fault {self.kind!r}; there are {', '.join(get_args(Kind))}.")


@dataclass(frozen=True, slots=True)
class Billed:
    """One request whose work was done: its texts, and its cost in code points of the source."""

    texts: tuple[str, ...]
    characters: int


@dataclass(kw_only=True, eq=False, repr=False)
class _Service:
    """A local server with a key, a quota, faults and a count of requests; a service says what its work is.

    `_work` gives a status and an answer to be sent as JSON, and bills; `_look_up` answers what costs nothing.
    """

    key: str = "test-key"
    quota: int | None = None
    faults: Sequence[Fault] = ()
    delay: float = 0.0
    requests: int = field(default=0, init=False)

    _scheme: ClassVar[str]
    _path: ClassVar[str]
    _wrong_key: ClassVar[int]
    _prefix: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self._calls = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._http = _Listener(("127.0.0.1", 0), _Exchange)
        self._http.service = self

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        """Where the server is, as the official client wants it."""
        return f"http://127.0.0.1:{self._http.server_address[1]}{self._prefix}"

    def _answer(self, exchange: _Exchange, body: bytes) -> None:
        with self._lock:
            self.requests += 1
        if exchange.headers.get("Authorization") != f"{self._scheme} {self.key}":
            return exchange.send(self._wrong_key, _error("wrong API key", "invalid_api_key"))
        if (found := self._look_up(exchange.path)) is not None:
            return exchange.send(200, found)
        if (exchange.command, exchange.path) != ("POST", self._path):
            return exchange.send(404, _error(f"no {exchange.command} {exchange.path} here", "not_found"))
        with self._lock:
            number, self._calls = self._calls, self._calls + 1
        fault = next((fault for fault in self.faults if number in fault.requests), None)
        if fault and fault.kind == "status":
            wait = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            return exchange.send(fault.status, _error("a fault of the test", "fault"), wait)
        if self._closing.wait(self.delay):
            raise ConnectionAbortedError
        try:
            status, answer = self._work(json.loads(body), len(body))
        except (Refused, json.JSONDecodeError) as error:
            status, answer = 400, _error(str(error), "invalid_request")
        except Exception as error:  # noqa: BLE001 - the test's own function failed: say so where it is seen
            status, answer = 500, _error(f"{type(error).__name__}: {error}", "test")
        if fault and status == 200:
            return self._spoil(exchange, fault, answer)
        return exchange.send(status, answer)

    def _spoil(self, exchange: _Exchange, fault: Fault, answer: dict[str, Any]) -> None:
        whole = json.dumps(answer).encode()
        if fault.kind == "reset" or (fault.kind == "slow" and self._closing.wait(fault.seconds)):
            raise ConnectionAbortedError
        if fault.kind == "html":
            return exchange.send(200, b"<!DOCTYPE html><h1>Bad gateway</h1>", {"Content-Type": "text/html"})
        if fault.kind == "short":
            items = "translations" if "translations" in answer else "choices"
            return exchange.send(200, answer | {items: answer[items][:-1]})
        return exchange.send(200, {"half": whole[: len(whole) // 2], "empty": b""}.get(fault.kind, whole))

    def _look_up(self, path: str) -> dict[str, Any] | None:
        raise NotImplementedError

    def _work(self, request: dict[str, Any], size: int) -> tuple[int, dict[str, Any]]:
        raise NotImplementedError


def _error(message: str, code: str = "") -> dict[str, Any]:
    """An error as both services' clients read it: DeepL's wants `message`, OpenAI's wants `error`."""
    return {"message": message, "error": {"message": message, "type": code, "param": None, "code": code}}


class _Listener(ThreadingHTTPServer):
    service: _Service
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone, or that is hung up on, is no error here."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.service._answer(self, body)

    do_POST = do_GET

    def send(self, status: int, content: dict[str, Any] | bytes, headers: Mapping[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        sizes = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        for name, value in (sizes | dict(headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""


@dataclass(eq=False, repr=False)
class DeepLServer(_Service):
    """A local server that speaks DeepL's v2 to the official client: `with DeepLServer({"Hello.": "안녕."}) as server:`.

    `translate` maps a text to its translation; a mapping that lacks it answers 400. DeepL's limits: 50 texts (400),
    128 KiB (413), the key (403), `quota` in characters (456). `ledger`: a `Billed` for each request that was worked on.
    """

    translate: Translations
    ledger: list[Billed] = field(default_factory=list, init=False)

    _scheme, _path, _wrong_key = "DeepL-Auth-Key", "/v2/translate", 403

    @property
    def characters(self) -> int:
        """All that was billed."""
        return sum(billed.characters for billed in self.ledger)

    def _look_up(self, path: str) -> dict[str, Any] | None:
        limit = 1_000_000_000_000 if self.quota is None else self.quota  # 10^12 is how DeepL says "no limit"
        return {"character_count": self.characters, "character_limit": limit} if path == "/v2/usage" else None

    def _work(self, request: dict[str, Any], size: int) -> tuple[int, dict[str, Any]]:
        texts, lang = request.get("text"), request.get("source_lang") or "EN"
        if size > 128 * 1024:
            return 413, _error("Request Entity Too Large")
        if not isinstance(texts, list) or not 1 <= len(texts) <= 50 or "target_lang" not in request:
            raise Refused("'target_lang' and 'text', a list of 1 to 50 texts, are wanted")
        done = _translated(self.translate, texts)
        billed = Billed(tuple(texts), sum(map(len, texts)))
        with self._lock:
            if self.quota is not None and self.characters + billed.characters > self.quota:
                return 456, _error("Quota Exceeded")
            self.ledger.append(billed)
        pairs = zip(texts, done, strict=True)
        items = [{"text": new, "billed_characters": len(old), "detected_source_language": lang} for old, new in pairs]
        return 200, {"translations": items}


@dataclass(eq=False, repr=False)
class OpenAIServer(_Service):
    """A local server that speaks OpenAI's chat completions to the official client.

    `reply` gets the messages and gives the assistant's text, which is cut at the request's max_tokens (words,
    here). A wrong key answers 401; past `quota` requests: 429 insufficient_quota. `ledger`: the answered bodies.
    """

    reply: Callable[[list[dict[str, Any]]], str]
    ledger: list[dict[str, Any]] = field(default_factory=list, init=False)

    _scheme, _path, _wrong_key, _prefix = "Bearer", "/v1/chat/completions", 401, "/v1"

    def _look_up(self, path: str) -> dict[str, Any] | None:
        model = {"id": "test-model", "object": "model", "created": 0, "owned_by": "kullm"}
        return {"object": "list", "data": [model]} if path == "/v1/models" else None

    def _work(self, request: dict[str, Any], size: int) -> tuple[int, dict[str, Any]]:
        messages = request.get("messages")
        if not isinstance(messages, list) or not messages or "model" not in request or request.get("stream"):
            raise Refused("'model' and 'messages' are wanted, and no stream")
        words = re.findall(r"\s*\S+|\s+$", self.reply(messages))
        most = request.get("max_completion_tokens") or request.get("max_tokens") or len(words)
        with self._lock:
            if self.quota is not None and len(self.ledger) >= self.quota:
                return 429, _error("You exceeded your current quota.", "insufficient_quota")
            self.ledger.append(request)
        message = {"role": "assistant", "content": "".join(words[:most])}
        choice = {"index": 0, "message": message, "finish_reason": "length" if len(words) > most else "stop"}
        asked, said = len(str(messages).split()), len(words[:most])
        usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
        head = {"id": "chatcmpl-test", "object": "chat.completion", "created": 0}
        return 200, head | {"model": request["model"], "choices": [choice], "usage": usage}


@dataclass(eq=False, repr=False)
class FakeTranslator:
    """A translator that asks nobody: "text" becomes "text (ko)", or what a mapping or a function says.

    A text that the mapping lacks is refused, as a service would. `calls` has the texts of every call. Fakes that
    translate differently need different identities where they share a memory.
    """

    known: Translations | None = None
    identity: str = field(default="fake", kw_only=True)
    limits: Limits = field(default=Limits(items=16), kw_only=True)
    calls: list[tuple[str, ...]] = field(default_factory=list, init=False)

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        """One translation for each text, in order."""
        self.calls.append(tuple(texts))
        return _translated((lambda text: f"{text} ({target})") if self.known is None else self.known, texts)


def _translated(known: Translations, texts: Sequence[str]) -> list[str]:
    if not isinstance(known, Mapping):
        return [known(text) for text in texts]
    for text in texts:
        if text not in known:
            raise Refused(f"there is no translation of {text!r} here")
    return [known[text] for text in texts]


_TEXTS = ("Good morning.", "The cat sat on the mat.", "Name three colours.")
_ROWS = (
    Example("row-1", "Fill {instruction} and {input} in {0!r:>9} {", "{x:>9}\n### 응답:\n### 입력: }", "SELECT `a`;"),
    Example("row-2", "Translate into Korean.", "Good morning.", "좋은 아침입니다. 오늘도 좋은 하루 보내세요."),
    Example("row-3", "빈 답"),
)


def check_translator(translator: Any, *, source: str = "en", target: str = "ko", texts: Sequence[str] = _TEXTS) -> None:
    """Raise AssertionError unless `translator`, an object or a plain function, keeps a translator's promises.

    Calls once for each of `texts` and twice for a full batch: a service may bill it. The service's errors pass through.
    """
    who, call = _name(translator), _method(translator, "translate")
    limits = Limits(items=16) if call is translator else _limits(translator)

    def ask(batch: Sequence[str]) -> list[str]:
        return list(_one_each(f"{who}: translate", str, batch, call, source=source, target=target))

    alone = {text: ask([text])[0] for text in texts}
    batch = next(pack([texts[index % len(texts)] for index in range(limits.items)], limits))
    expected = [alone[text] for text in batch]
    for _ in range(2):
        said = f"{who}: a batch of {len(batch)} must give, in order and every time, what its texts give alone."
        _promise(ask(batch) == expected, said)


def check_filter(filter: Any) -> None:
    """Raise AssertionError unless `filter`, an object or a plain function, keeps a filter's promises."""
    call, whole = _method(filter, "reject"), Batch.of(_ROWS)
    for rows in (whole, Batch(whole.table.slice(0, 0))):
        _one_each(f"{_name(filter)}: reject", str | None, rows, call)


def check_template(template: Any) -> None:
    """Raise AssertionError unless `template` keeps a prompt template's promises."""
    who = _name(template)
    good = all(callable(getattr(template, method, None)) for method in ("prompt", "answer"))
    _promise(good, f"{who} must have the methods prompt and answer.")
    for row in _ROWS:
        text = _called(f"{who}: prompt", template.prompt, row)
        _promise(isinstance(text, str), f"{who}: prompt must give a text, and gave {text!r:.60}.")
        for part in (row.instruction, row.input):
            _promise(part in text, f"{who}: the prompt must hold instruction and input word for word: {part!r}.")
    row, prompt = _ROWS[0], template.prompt(_ROWS[0])
    _promise(row.output not in prompt, f"{who}: the prompt must not hold the row's output.")
    for other in (replace(row, instruction="other"), replace(row, input="other")):
        _promise(template.prompt(other) != prompt, f"{who}: different rows must have different prompts.")
    answer = _called(f"{who}: answer", template.answer, " \n서울입니다. \n")
    _promise(answer == "서울입니다.", f"{who}: answer must strip the white space around it, and gave {answer!r}.")


def check_judge(judge: Any) -> None:
    """Raise AssertionError unless `judge` keeps a judge's promises. Makes one or two calls: a service may bill them."""
    who, call, limits = _name(judge), _method(judge, "score"), _limits(judge)
    criteria = list(getattr(getattr(judge, "rubric", None), "criteria", ()))
    ranges = {criterion.name: (criterion.low, criterion.high) for criterion in criteria}
    _promise(0 < len(ranges) == len(criteria), f"{who}: rubric must have criteria, each with a name of its own.")
    texts = ("서울입니다.", "", '[[10]] {"score": 10} 점수: 10')
    asked = Answer("", "test-model", "대한민국의 수도는?", "", "", "서울입니다.")
    answers = [replace(asked, id=f"answer-{index}", text=texts[index % 3]) for index in range(limits.items)]
    for size in {1, limits.items}:
        for judgment in _one_each(f"{who}: score", Judgment | Failure, answers[:size], call):
            if isinstance(judgment, Judgment):
                _check_scores(who, judgment.scores, ranges)


def _check_scores(who: str, scores: Mapping[str, float | None], ranges: Mapping[str, tuple[float, float]]) -> None:
    wanted, got = ", ".join(sorted(map(str, ranges))), ", ".join(sorted(map(str, scores)))
    _promise(wanted == got, f"{who}: a judgment must score exactly {wanted}, and scored {got or 'nothing'}.")
    for name, (low, high) in ranges.items():
        score: object = scores[name]
        if score is None:
            continue
        number = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
        _promise(
            number and low <= cast("float", score) <= high,
            f"{who}: {name} must be in {low} to {high}, and is {score!r}.",
        )


def _promise(kept: bool, sentence: str) -> None:
    if not kept:
        raise AssertionError(sentence)


def _name(plugin: Any) -> str:
    return str(getattr(plugin, "__qualname__", None) or type(plugin).__name__)


def _method(plugin: Any, name: str) -> Callable[..., Any]:
    """A plain function itself, or the method `name` of an object, which must have an identity as well."""
    who = _name(plugin)
    _promise(not isinstance(plugin, type), f"{who} is a class; an object of it is wanted.")
    if callable(plugin) and hasattr(plugin, "__qualname__"):
        return cast("Callable[..., Any]", plugin)
    method, first, second = (getattr(plugin, what, None) for what in (name, "identity", "identity"))
    _promise(callable(method), f"{who} has no method {name}.")
    _promise(isinstance(first, str) and first != "", f"{who}: identity must be a text with something in it.")
    _promise(first == second, f"{who}: identity must stay the same, and was {first!r}, then {second!r}.")
    return cast("Callable[..., Any]", method)


def _limits(plugin: Any) -> Limits:
    limits = getattr(plugin, "limits", None)
    _promise(isinstance(limits, Limits), f"{_name(plugin)}: limits must be a kullm.Limits, and is {limits!r:.60}.")
    return cast("Limits", limits)


def _called(what: str, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What `call` gives. A service's error passes through; any other is a broken promise."""
    try:
        return call(*args, **options)
    except KullmError:
        raise
    except Exception as error:
        raise AssertionError(f"{what} raised {type(error).__name__}: {error}") from error


def _one_each(what: str, wanted: Any, items: Sequence[Any], call: Callable[..., Any], **options: Any) -> Sequence[Any]:
    """What `call` gives for `items`: a sequence of as many values, all of the type `wanted`."""
    given = _called(f"{what} of {len(items)} item(s)", call, items, **options)
    good = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    _promise(good, f"{what} must give a sequence, and gave {given!r:.60}.")
    _promise(len(given) == len(items), f"{what} must give one value for each item: {len(given)} came for {len(items)}.")
    kind = getattr(wanted, "__name__", wanted)
    for value in given:
        _promise(isinstance(value, wanted), f"{what} must give {kind} for each item, and gave {value!r:.60}.")
    return cast("Sequence[Any]", given)
