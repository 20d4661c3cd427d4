"""The test servers keep their word: each fault is seen as it is described, and what was billed stands in the ledger."""

from __future__ import annotations

import gc
import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesHeaderParser
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, get_args

import deepl
import openai
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

import kullm
from kullm.errors import Refused, UsageError
from kullm.remote import Limits
from kullm.rows import Failure
from kullm.testing import (
    DeepLServer,
    FakeTranslator,
    Fault,
    Kind,
    OpenAIServer,
    check_translator,
    fingerprint,
    pseudo_korean,
)

Server: TypeAlias = DeepLServer | OpenAIServer
TEXTS = ["one", "two", "three"]
quick = settings(max_examples=60, deadline=None, derandomize=True)


@dataclass(frozen=True)
class Seen:
    """What came over the socket: the head, the body, and how it ended: closed, reset or silent."""

    status: int
    headers: Message
    body: bytes
    end: str
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def deepl_body(*texts: str, **options: Any) -> bytes:
    return json.dumps({"text": list(texts or TEXTS), "source_lang": "EN", "target_lang": "KO"} | options).encode()


def chat_body(text: str = "one two three") -> bytes:
    return json.dumps({"model": "gpt-4", "messages": [{"role": "user", "content": text}]}).encode()


def request(server: Server, body: bytes | None = None, *headers: str, path: str = "", key: str = "test-key") -> bytes:
    """A POST as a client writes it, on a connection that is to be closed after the answer."""
    body = body if body is not None else deepl_body() if isinstance(server, DeepLServer) else chat_body()
    lines = (
        f"POST {path or server.path} HTTP/1.1",
        f"Authorization: {server.scheme} {key}",
        f"Content-Length: {len(body)}",
        *(headers or ("Connection: close",)),
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def ask(server: Server, body: bytes | None = None, *, patience: float = 3.0, **settings: Any) -> Seen:
    return speak(server.port, request(server, body, **settings), patience)


def speak(port: int, sent: bytes, patience: float = 3.0) -> Seen:
    """Send bytes and read until the server closes or resets, or until nothing came for `patience` seconds."""
    data, end, start = bytearray(), "closed", time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(patience)
        sock.sendall(sent)
        try:
            while piece := sock.recv(65536):
                data += piece
                if len(data) > 5_000_000:
                    end = "endless"
                    break
        except ConnectionResetError:
            end = "reset"
        except TimeoutError:
            end = "silent"
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    line, _, lines = head.partition(b"\r\n")
    status = int(line.split()[1]) if line else 0
    return Seen(status, BytesHeaderParser().parsebytes(lines), body, end, time.monotonic() - start)


def services(**settings: Any) -> list[Server]:
    return [DeepLServer(str.upper, **settings), OpenAIServer(lambda messages: "ONE TWO THREE", **settings)]


def items(answer: Any) -> Any:
    return answer["translations" if "translations" in answer else "choices"]


def texts(found: Sequence[Any]) -> list[Any]:
    return [item["message"]["content"] if "message" in item else item["text"] for item in found]


# Faults: each as it is described


@dataclass(frozen=True)
class Fate:
    """What a client sees of a fault: the end, the status, and what else is true of it and of the whole answer."""

    end: str
    status: int
    true: Callable[[Seen, Any], bool]
    fault: dict[str, Any] = field(default_factory=dict)


def shape(true: Callable[[Any, Any], bool]) -> Fate:
    """Whole and sound but for the JSON, of which `true` tells with the whole answer beside it."""
    return Fate("closed", 200, lambda seen, whole: int(seen.headers["content-length"]) == len(seen.body) and
                seen.headers["content-type"] == "application/json" and true(seen.json, whole))  # fmt: skip


def last_text(value: Any) -> Fate:
    return shape(lambda answer, whole: texts(items(answer)) == [*texts(items(whole))[:-1], value])


def length(seen: Seen) -> int:
    return int(seen.headers["content-length"])


FATES: dict[str, Fate] = {
    "status": Fate("closed", 503, lambda seen, _: "retry-after" not in seen.headers and "message" in seen.json),
    "redirect": Fate("closed", 307, lambda seen, _: seen.headers["location"].startswith("http://127.0.0.1:")),
    "reset": Fate("reset", 0, lambda seen, _: not seen.body),
    "fin": Fate("closed", 0, lambda seen, _: not seen.body),
    "hang": Fate("silent", 0, lambda seen, _: not seen.body),
    "slow": Fate("closed", 200, lambda seen, whole: seen.json == whole and seen.seconds > 0.2, {"seconds": 0.2}),
    "slow-head": Fate("closed", 200, lambda seen, whole: seen.json == whole and seen.seconds > 0.1, {"seconds": 0.001}),
    "slow-body": Fate("closed", 200, lambda seen, whole: seen.json == whole and seen.seconds > 0.1, {"seconds": 0.001}),
    "torn": Fate("reset", 200, lambda seen, _: 0 < len(seen.body) < length(seen)),
    "cut": Fate("closed", 200, lambda seen, _: 0 < len(seen.body) < length(seen)),
    "chunks": Fate("closed", 200, lambda seen, _: b"\r\nzz\r\n" in seen.body and "content-length" not in seen.headers),
    "half": Fate(
        "closed",
        200,
        lambda seen, whole: (
            json.dumps(whole).encode().startswith(seen.body)
            and length(seen) == len(seen.body) == len(json.dumps(whole)) // 2
        ),
    ),
    "empty": Fate("closed", 200, lambda seen, _: length(seen) == 0 == len(seen.body)),
    "html": Fate(
        "closed", 200, lambda seen, _: seen.headers["content-type"] == "text/html" and seen.body[:9] == b"<!DOCTYPE"
    ),
    "bomb": Fate(
        "closed",
        200,
        lambda seen, _: zlib.decompress(seen.body, 31) == bytes(3 * 2**20) and len(seen.body) < 10_000,
        {"size": 3 * 2**20},
    ),
    "flood": Fate("endless", 200, lambda seen, _: "content-length" not in seen.headers),
    "odd-type": Fate(
        "closed", 200, lambda seen, whole: seen.json == whole and "utf-16" in seen.headers["content-type"]
    ),
    "two-types": Fate(
        "closed", 200, lambda seen, whole: seen.json == whole and len(seen.headers.get_all("content-type") or ()) == 2
    ),
    "message": shape(lambda answer, _: isinstance(answer["message"], str)),
    "error": shape(lambda answer, _: isinstance(answer["error"]["message"], str)),
    "list": shape(lambda answer, _: answer == [1, 2]),
    "number": shape(lambda answer, _: answer == 7),
    "null": shape(lambda answer, _: answer is None),
    "short": shape(lambda answer, whole: items(answer) == items(whole)[:-1]),
    "long": shape(lambda answer, whole: items(answer) == [*items(whole), items(whole)[-1]]),
    "none": shape(lambda answer, _: items(answer) == []),
    "null-items": shape(lambda answer, _: items(answer) is None),
    "null-item": shape(lambda answer, whole: items(answer) == [*items(whole)[:-1], None]),
    "reversed": shape(lambda answer, whole: items(answer) == items(whole)[::-1]),
    "empty-text": last_text(""),
    "null-text": last_text(None),
    "number-text": last_text(7),
    "surrogate": shape(lambda answer, whole: texts(items(answer))[-1] == texts(items(whole))[-1] + "\ud800"),
    "no-cost": shape(lambda answer, _: "billed_characters" not in str(answer) and "usage" not in answer),
    "null-cost": shape(
        lambda answer, _: answer.get("usage", 0) is None or items(answer)[0].get("billed_characters", 0) is None
    ),
}


def test_every_kind_of_fault_is_looked_at_and_described() -> None:
    assert set(FATES) == set(get_args(Kind))
    described = Fault.__doc__ or ""
    assert [kind for kind in get_args(Kind) if f"`{kind}`" not in described] == []


@pytest.mark.parametrize("service", [0, 1], ids=["deepl", "openai"])
@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_fault_is_seen_as_it_is_described_and_billed_as_it_is_described(kind: Kind, service: int) -> None:
    fate = FATES[kind]
    with services(faults=[Fault(kind, [0], **fate.fault)])[service] as server:
        seen = ask(server, patience=0.3 if kind == "hang" else 3.0)
        billed = len(server.ledger)
        whole = ask(server).json
        assert (seen.end, seen.status) == (fate.end, fate.status)
        assert fate.true(seen, whole)
        assert billed == (0 if kind in ("status", "redirect") else 1)
        assert texts(items(whole)) == (["ONE", "TWO", "THREE"] if service == 0 else ["ONE TWO THREE"])
        assert len(server.ledger) == billed + 1  # the next call is served as ever
        assert server.requests == 2


@pytest.mark.parametrize("service", [0, 1], ids=["deepl", "openai"])
@pytest.mark.parametrize("kind", ["status", "reset", "hang", "half"])
def test_a_fault_may_strike_before_the_work_or_after_it(kind: Kind, service: int) -> None:
    faults = [Fault(kind, [0], billed=False), Fault(kind, [1], billed=True)]
    with services(faults=faults)[service] as server:
        ends = []
        for number in range(2):
            ends.append(ask(server, patience=0.2).end)
            assert len(server.ledger) == number
        assert ends[0] == ends[1] == FATES[kind].end


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 418, 429, 456, 500, 502, 503, 504, 529])
def test_any_status_can_be_given_and_bills_nothing(status: int) -> None:
    with DeepLServer(str.upper, faults=[Fault("status", status=status)]) as server:
        assert ask(server).status == status
        assert server.ledger == []


@pytest.mark.parametrize("asked", ["0", "3", "0.5", "Fri, 31 Dec 2027 23:59:59 GMT", "soon"])
def test_a_wait_is_asked_for_in_the_words_of_the_test(asked: str) -> None:
    with DeepLServer(str.upper, faults=[Fault("status", status=429, retry_after=asked)]) as server:
        seen = ask(server)
    assert (seen.status, seen.headers["retry-after"], seen.headers["retry-after-ms"]) == (429, asked, None)


def test_a_wait_is_asked_for_in_milliseconds() -> None:
    with OpenAIServer(lambda _: "", faults=[Fault("status", status=429, retry_after_ms="1500")]) as server:
        seen = ask(server)
    assert (seen.headers["retry-after"], seen.headers["retry-after-ms"]) == (None, "1500")


def test_a_burst_strikes_its_calls_and_look_ups_do_not_count() -> None:
    with DeepLServer(str.upper, faults=[Fault("status", range(1, 3)), Fault("html", [3], status=502)]) as server:
        found = []
        for _ in range(5):
            found.append(ask(server).status)
            look_up = {"Authorization": "DeepL-Auth-Key test-key"}
            assert requests.get(f"{server.url}/v2/usage", headers=look_up, timeout=5).status_code == 200
        assert found == [200, 503, 503, 502, 200]
        assert (server.requests, len(server.ledger)) == (10, 3)


def test_faults_may_be_changed_while_the_server_runs() -> None:
    with DeepLServer(str.upper) as server:
        assert ask(server).status == 200
        server.faults = [Fault("status", [1], status=529)]
        assert ask(server).status == 529


def test_a_fault_of_no_known_kind_is_an_error_that_names_the_kinds() -> None:
    unknown: Any = "rest"
    with pytest.raises(UsageError, match=r"no fault 'rest'.*reset"):
        Fault(unknown)


def test_a_request_that_the_service_refuses_is_refused_whatever_the_fault() -> None:
    with DeepLServer(str.upper, faults=[Fault("html", range(9))]) as server:
        assert ask(server, deepl_body(*["a"] * 51)).status == 400


@pytest.mark.parametrize(("status", "method"), [(302, "GET"), (307, "POST")])
def test_who_follows_a_redirect_is_written_down_with_the_key_and_the_texts_that_it_took_along(
    status: int, method: str
) -> None:
    with DeepLServer(str.upper, faults=[Fault("redirect", range(2), status=status)]) as server:
        headers = {"Authorization": "DeepL-Auth-Key test-key"}
        followed = requests.post(f"{server.url}/v2/translate", deepl_body(), headers=headers, timeout=5)
        assert followed.url != f"{server.url}/v2/translate"
        (stray,) = server.strays
        assert (stray.method, stray.path, stray.key) == (method, "/v2/translate", None)  # requests drops the key
        assert stray.body == (deepl_body() if method == "POST" else b"")
        assert texts(followed.json().get("translations", [])) == ([] if method == "GET" else ["ONE", "TWO", "THREE"])
        careless = {"Authorization": "DeepL-Auth-Key test-key"}
        requests.post(ask(server).headers["location"], deepl_body(), headers=careless, timeout=5)
        assert server.strays[1].key == "DeepL-Auth-Key test-key"
        assert server.ledger == []


def test_a_bomb_is_300_mib_of_zeros_in_less_than_half_a_mib() -> None:
    with DeepLServer(str.upper, faults=[Fault("bomb")]) as server:
        seen = ask(server, patience=10)
    assert seen.headers["content-encoding"] == "gzip"
    assert len(seen.body) < 2**19
    unzip, size, rest = zlib.decompressobj(31), 0, seen.body
    while rest and not unzip.eof:
        piece = unzip.decompress(rest, 2**20)
        assert not piece.strip(b"\0")
        size, rest = size + len(piece), unzip.unconsumed_tail
    assert (unzip.eof, size) == (True, 300 * 2**20)  # the checksum at its end was right


def test_others_are_served_while_one_client_is_flooded_and_another_waits_for_ever() -> None:
    with DeepLServer(str.upper, faults=[Fault("flood", [0]), Fault("hang", [1])]) as server:
        flooded, hung = (socket.create_connection(("127.0.0.1", server.port)) for _ in range(2))
        with flooded, hung:
            flooded.sendall(request(server))
            assert flooded.recv(1000).startswith(b"HTTP/1.1 200")
            hung.sendall(request(server))
            while server.requests < 2:
                time.sleep(0.01)
            assert ask(server).json["translations"][0]["text"] == "ONE"


# DeepL: limits, options, tags


def test_a_request_holds_50_texts_and_128_kib_and_no_more() -> None:
    with DeepLServer(str.upper) as server:
        assert ask(server, deepl_body(*["a"] * 50)).status == 200
        assert ask(server, deepl_body(*["a"] * 51)).status == 400
        room = 128 * 1024 - len(deepl_body(""))
        assert ask(server, deepl_body("a" * room)).status == 200
        assert ask(server, deepl_body("a" * (room + 1))).status == 413
        assert ask(server, deepl_body("가" * (room // 6 + 1))).status == 413  # in JSON a syllable takes six bytes
        assert server.characters == 50 + room


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"formality": "more"}, "Target language 'KO' doesn't support formality"),
        ({"formality": "polite"}, "formality"),
        ({"target_lang": None}, "target_lang"),
        ({"text": []}, "1 to 50 texts"),
        ({"text": "one"}, "1 to 50 texts"),
        ({"text": [None]}, "1 to 50 texts"),
        ({"context": ["one"]}, "context"),
        ({"tag_handling": "markdown"}, "tag_handling"),
        ({"tag_handling": "xml", "tag_handling_version": "v3"}, "tag_handling_version"),
        ({"model_type": "best"}, "model_type"),
        ({"custom_instructions": ["Be polite."] * 11}, "at most 10"),
        ({"custom_instructions": ["x" * 301]}, "300 characters"),
        ({"custom_instructions": "Be polite."}, "custom_instructions"),
        ({"glossary_id": "g", "source_lang": None}, "source_lang"),
        ({"glossary_ids": ["g"] * 6}, "1 to 5"),
        ({"glossary_id": "g", "glossary_ids": ["h"]}, "exclude"),
    ],
)
def test_what_deepl_does_not_take_is_refused_and_not_billed(options: dict[str, Any], said: str) -> None:
    with DeepLServer(str.upper) as server:
        seen = ask(server, deepl_body(**options))
        assert (seen.status, server.ledger) == (400, [])
        assert said in seen.json["message"]


@pytest.mark.parametrize(
    "options",
    [
        {"formality": "prefer_more"},
        {"formality": "more", "target_lang": "DE"},
        {"tag_handling": "xml", "tag_handling_version": "v2", "ignore_tags": ["x"]},
        {"tag_handling": "html"},
        {"model_type": "prefer_quality_optimized", "split_sentences": "0", "preserve_formatting": True},
        {"custom_instructions": ["x" * 300] * 10},
        {"glossary_ids": ["g", "h"]},
        {"glossary_id": "g"},
    ],
)
def test_what_deepl_takes_is_taken_and_stands_in_the_ledger(options: dict[str, Any]) -> None:
    with DeepLServer(str.upper) as server:
        assert ask(server, deepl_body(**options)).status == 200
        (billed,) = server.ledger
        assert billed.options == {"source_lang": "EN", "target_lang": "KO"} | options
        assert billed.tags == ("tag_handling" in options)


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("plain", 5),
        ('Call <x id="0"/> now', 9),
        ("<b>bold</b>", 4),
        ("a &lt; b &amp; c", 16),  # an entity counts as it was sent
        ('<x id="1" t="&gt;"/>', 0),
        ("<x t='>'/>", 0),
        ("a<!-- <b> -->b", 2),
        ("<![CDATA[a<b]]>", 3),
        ("한국어 <x/>😀", 5),  # code points, not bytes
        ("", 0),
    ],
)
def test_tags_are_not_billed_where_they_are_handled(text: str, cost: int) -> None:
    with DeepLServer(str.upper) as server:
        tagged = ask(server, deepl_body(text, "x", tag_handling="xml", tag_handling_version="v2")).json
        assert [item["billed_characters"] for item in tagged["translations"]] == [cost, 1]
        assert (server.characters, server.ledger[0].tags) == (cost + 1, True)
        plain = ask(server, deepl_body(text)).json
        assert plain["translations"][0]["billed_characters"] == len(text)
        assert (server.characters, server.ledger[1].tags) == (cost + 1 + len(text), False)


@pytest.mark.parametrize(
    "text",
    ["a < b", "AT&T", "<x>", "</x>", "<b><i>a</b></i>", "&nbsp;", "<x id=0/>", "</t><t>", "a ]]> b", "\x0b", "\ud800",
     "<!DOCTYPE t [<!ENTITY a 'b'>]>&a;"],
)  # fmt: skip
def test_what_is_no_well_formed_xml_is_refused_by_version_2_alone(text: str) -> None:
    with DeepLServer(str.upper) as server:
        for version in ({}, {"tag_handling_version": "v2"}):
            seen = ask(server, deepl_body("good", text, tag_handling="xml", **version))
            assert (seen.status, server.ledger) == (400, [])
            assert "text 1" in seen.json["message"]
        assert ask(server, deepl_body(text, tag_handling="xml", tag_handling_version="v1")).status == 200
        assert ask(server, deepl_body(text)).status == 200


def test_the_official_client_gets_its_options_through_and_context_is_free() -> None:
    with DeepLServer(pseudo_korean) as server:
        client: Any = deepl.DeepLClient(server.key, server_url=server.url)
        said = client.translate_text(
            ['Press <x id="0"/> &amp; wait.', "Wait."],
            source_lang="EN",
            target_lang="KO",
            context="The user asked how to stop the machine. " * 10,
            tag_handling="xml",
            tag_handling_version="v2",
            custom_instructions=["Use a polite style."],
        )
        usage = client.get_usage()
        client.close()
        assert [result.billed_characters for result in said] == [18, 5]
        assert '<x id="0"/> &amp; ' in said[0].text
        (billed,) = server.ledger
        assert billed.texts == ('Press <x id="0"/> &amp; wait.', "Wait.")
        assert (billed.characters, billed.tags) == (23, True)
        assert billed.context.startswith("The user asked")
        assert billed.options["custom_instructions"] == ["Use a polite style."]
        assert (usage.character.count, server.characters) == (23, 23)


def test_a_quota_ends_before_the_request_that_would_pass_it() -> None:
    with DeepLServer(str.upper, quota=10) as server:
        assert [ask(server, deepl_body(text)).status for text in ("12345", "123456", "12345", "1")] == [
            200, 456, 200, 456,
        ]  # fmt: skip
        assert server.characters == 10
    with OpenAIServer(lambda _: "", quota=1) as chat:
        assert ask(chat).status == 200
        assert ask(chat).json["error"]["code"] == "insufficient_quota"


def test_an_error_of_the_tests_own_function_is_told_in_the_answer() -> None:
    with DeepLServer(lambda text: str(1 // 0)) as server:
        seen = ask(server)
    assert seen.status == 500
    assert "ZeroDivisionError" in seen.json["message"]


# HTTP


def test_a_wrong_key_or_path_is_told_and_bills_nothing() -> None:
    with DeepLServer(str.upper) as server:
        assert ask(server, key="wrong").status == 403
        assert ask(server, path="/v3/translate").status == 404
        assert (server.requests, server.ledger) == (2, [])
    with OpenAIServer(lambda _: "") as chat:
        assert ask(chat, key="wrong").status == 401


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 17000 + b"\r\n\r\n", 431),
        (b"x" * 17000, 431),
    ],
)
def test_what_is_no_request_is_refused_and_the_server_goes_on(sent: bytes, status: int) -> None:
    with DeepLServer(str.upper) as server:
        assert speak(server.port, sent).status == status
        assert ask(server).status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[1]", b"[" * 100_000])
def test_a_body_that_is_no_object_of_json_is_refused(body: bytes) -> None:
    with DeepLServer(str.upper) as server:
        assert ask(server, body).status == 400


def test_a_request_may_come_in_pieces_and_several_on_one_connection_are_answered_in_their_order() -> None:
    with DeepLServer(str.upper, delay=0.01) as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.settimeout(5)
        both = b"".join(request(server, deepl_body(text), "X: y") for text in ("first", "second"))
        for start in range(0, len(both), 37):
            sock.sendall(both[start : start + 37])
            time.sleep(0.001)
        data = b""
        while data.count(b"billed_characters") < 2:
            data += sock.recv(65536)
    assert data.index(b"FIRST") < data.index(b"SECOND")


def test_a_client_that_goes_away_during_the_delay_is_billed_all_the_same() -> None:
    with DeepLServer(str.upper, delay=0.1) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(request(server))
            wait_for(lambda: len(server.ledger) == 1)
        time.sleep(0.2)
        assert len(server.ledger) == 1
        assert ask(server).status == 200


def test_a_request_is_billed_at_once_and_answered_after_the_delay() -> None:
    with DeepLServer(str.upper, delay=0.3) as server, ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        asked = pool.submit(ask, server)
        wait_for(lambda: len(server.ledger) == 1)
        assert not asked.done()
        assert asked.result().status == 200
        assert time.monotonic() - began >= 0.3


def came(server: Server, count: int) -> bool:
    return server.requests >= count


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_sixteen_clients_at_once_are_each_answered_with_their_own_texts_and_billed_once() -> None:
    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        for turn in range(20):
            mine = [f"client {number} turn {turn} text {text}" for text in range(50)]
            headers = {"Authorization": "DeepL-Auth-Key test-key"}
            connection.request("POST", "/v2/translate", deepl_body(*mine), headers)
            said = json.loads(connection.getresponse().read())
            assert texts(items(said)) == [text.upper() for text in mine]
        connection.close()

    with DeepLServer(str.upper, delay=0.002) as server, ThreadPoolExecutor(16) as pool:
        list(pool.map(client, range(16)))
        billed = Counter(text for entry in server.ledger for text in entry.texts)
        assert (server.requests, len(billed), set(billed.values())) == (320, 16_000, {1})
        assert server.characters == sum(map(len, billed))


def test_waiting_requests_do_not_wait_for_each_other() -> None:
    with DeepLServer(str.upper, delay=0.3) as server, ThreadPoolExecutor(16) as pool:
        start = time.monotonic()
        assert {seen.status for seen in pool.map(lambda _: ask(server), range(16))} == {200}
        assert time.monotonic() - start < 3  # one after the other: 4.8 s


def test_a_server_leaves_no_thread_and_no_socket_behind() -> None:
    def left() -> tuple[int, int]:
        gc.collect()
        files = Path("/proc/self/fd")  # where there is none, the warning about an open socket is the test
        return threading.active_count(), len([*files.iterdir()]) if files.exists() else 0

    before = left()
    faults = [Fault("hang", [0]), Fault("slow", [1], seconds=99), Fault("slow-body", [2]), Fault("flood", [3])]
    for server in services(faults=faults):
        clients: list[socket.socket] = []
        with server:
            for number in range(4):
                clients.append(socket.create_connection(("127.0.0.1", server.port)))
                clients[-1].sendall(request(server, None, "X: y"))
                wait_for(partial(came, server, number + 1))
            clients.append(socket.create_connection(("127.0.0.1", server.port)))
        for client in clients:
            client.close()
        with pytest.raises(ConnectionRefusedError):
            ask(server)
    assert left() == before


def test_a_server_may_be_started_again_where_it_was() -> None:
    server = DeepLServer(str.upper)
    with pytest.raises(UsageError, match="no address before it is started"):
        _ = server.url
    found = []
    for _ in range(2):
        with server:
            found.append((server.url, ask(server).status))
    assert found == [(server.url, 200)] * 2
    assert len(server.ledger) == 2


def test_a_port_that_is_taken_is_an_error_and_nothing_is_left_open() -> None:
    with DeepLServer(str.upper) as server, pytest.raises(OSError, match="in use"), DeepLServer({}, port=server.port):
        pass


# A process of its own


@contextmanager
def process(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m kullm.testing`, and the URL that it prints."""
    command = [sys.executable, "-W", "error", "-m", "kullm.testing", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_server_of_its_own_process_writes_down_what_it_bills_before_it_answers(tmp_path: Path) -> None:
    ledger = tmp_path / "billed.jsonl"
    with process("deepl", "--translate", "korean", "--key", "k", "--ledger", ledger) as (child, url):
        client: Any = deepl.DeepLClient("k", server_url=url)
        said = client.translate_text(["Hello.", "Wait 3 days."], source_lang="EN", target_lang="KO")
        assert [result.text for result in said] == [pseudo_korean("Hello."), pseudo_korean("Wait 3 days.")]
        assert lines(ledger) == [{"texts": [fingerprint("Hello."), fingerprint("Wait 3 days.")], "cost": 18}]
        client.translate_text(["Hello."], target_lang="KO")
        count = client.get_usage().character.count
        client.close()
        child.kill()
        child.wait()
    assert count == sum(line["cost"] for line in lines(ledger)) == 24


def test_what_a_killed_client_was_billed_for_stands_in_the_ledger(tmp_path: Path) -> None:
    ledger = tmp_path / "billed.jsonl"
    script = """
import sys, deepl
client = deepl.DeepLClient("test-key", server_url=sys.argv[1])
for number in range(10_000):
    client.translate_text([f"text {number}"], target_lang="KO")
    print(number, flush=True)
"""
    with process("deepl", "--delay", 0.002, "--ledger", ledger) as (_, url):
        command = [sys.executable, "-c", script, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            for _ in range(20):
                client.stdout.readline()
            client.kill()
            answered = 20 + len(client.stdout.read().splitlines())
        time.sleep(0.1)
        billed = [text for line in lines(ledger) for text in line["texts"]]
    assert billed == [fingerprint(f"text {number}") for number in range(len(billed))]
    assert answered <= len(billed) <= answered + 1


def test_a_chat_server_of_its_own_process_translates_texts_and_lists_of_texts(tmp_path: Path) -> None:
    with process("openai", "--translate", "upper", "--ledger", tmp_path / "l.jsonl") as (_, url):
        with openai.OpenAI(api_key="test-key", base_url=url, max_retries=0) as client:
            asked = ["Hello.", 'Translate [all] of: [{"id": 7, "text": "one"}, {"id": 8, "text": "two"}] Thanks.']
            said = [
                client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])
                .choices[0]
                .message.content
                for text in asked
            ]
        assert said[0] == "HELLO."
        assert json.loads(said[1] or "") == {"translations": [{"id": 7, "text": "ONE"}, {"id": 8, "text": "TWO"}]}
        assert lines(tmp_path / "l.jsonl") == [{"texts": [fingerprint(text)], "cost": 1} for text in asked]


def test_a_server_that_is_interrupted_ends_without_a_complaint() -> None:
    with process("deepl") as (child, url):
        assert url.startswith("http://127.0.0.1:")
        child.send_signal(2)
        _, errors = child.communicate(timeout=20)
    assert (child.returncode, errors) == (0, "")


# Pseudo-Korean


def test_pseudo_korean_keeps_what_a_verifier_counts() -> None:
    text = 'Dear {name}, press <x id="0"/> &amp; ⟦1⟧ in 2.5 days:\n- %s of 300\n\n서울 isn\'t far!'
    said = pseudo_korean(text)
    kept = re.findall(r'\{name\}|<x id="0"/>|&amp;|⟦1⟧|2\.5|%s|300|서울|[\n:,!-]', text)
    assert re.findall(r'\{name\}|<x id="0"/>|&amp;|⟦1⟧|2\.5|%s|300|서울|[\n:,!-]', said) == kept
    assert not re.search(r"[A-Za-z]", re.sub(r"<[^>]*>|\{name\}|&amp;|%s", "", said))
    assert said == pseudo_korean(text)


@quick
@given(st.text(st.characters(codec="utf-8", exclude_characters="<>&{}%")))
def test_pseudo_korean_changes_words_alone_each_by_itself(text: str) -> None:
    said = pseudo_korean(text)
    assert [char for char in said if char.isdigit()] == [char for char in text if char.isdigit()]
    assert [pseudo_korean(line) for line in text.splitlines(True)] == said.splitlines(True)
    assert pseudo_korean(said) == said or re.search("['’]", text)
    assert bool(said.strip()) == bool(text.strip())


@pytest.mark.shared
def test_pseudo_korean_is_as_long_as_korean_is(shared: Path) -> None:
    rows = json.loads((shared / "data" / "english" / "alpaca_5000.json").read_text("utf-8"))
    outputs = [row["output"] for row in rows if re.fullmatch(r"[\x20-\x7e\n]{40,}", row["output"])][:1000]
    ratios = sorted(len(pseudo_korean(text)) / len(text) for text in outputs)
    assert 0.45 < ratios[len(ratios) // 2] < 0.62  # DeepL's Korean: half as long as the English
    assert sum(0.28 <= ratio <= 0.85 for ratio in ratios) > 0.97 * len(ratios)


# The contract of a translator, its optional part


def test_a_fake_takes_the_options_that_it_was_told_to_take_and_no_other() -> None:
    fake = FakeTranslator(options=("context",), placeholder="@{}@")
    assert fake.translate(["a"], source="en", target="ko", context="b") == ["a (ko)"]
    assert (fake.calls, fake.given, fake.placeholder) == ([("a",)], [{"context": "b"}], "@{}@")
    with pytest.raises(TypeError, match="'xml'"):
        fake.translate(["a"], source="en", target="ko", xml=True)
    check_translator(fake)
    check_translator(FakeTranslator(options=("context", "xml")))
    check_translator(FakeTranslator({"Hello.": "안녕."}), texts=["Hello."])  # it need not know the check's own texts


@dataclass
class Translator:
    """A translator with every optional attribute, which keeps its promises unless it is told otherwise."""

    identity: str = "mine"
    limits: Limits = field(default_factory=lambda: Limits(items=4))
    placeholder: Any = "[[{}]]"
    options: Any = ("context", "xml")
    unit: Any = "tokens"
    cost: Any = len
    asked: list[dict[str, Any]] = field(default_factory=list)

    def translate(
        self, texts: Sequence[str], *, source: str, target: str, context: str = "", xml: bool = False
    ) -> list[str | Failure]:
        self.asked.append({"texts": list(texts), "context": context, "xml": xml})
        return [Failure("", "translate", f"call {len(self.asked)}") if "mat" in text else f"<{text}>" for text in texts]


def test_a_translator_with_the_optional_attributes_is_asked_about_each_and_may_fail_on_a_text() -> None:
    mine = Translator()
    check_translator(mine)
    asked = [(call["texts"], bool(call["context"]), call["xml"]) for call in mine.asked]
    assert any("[[0]]" in texts[0] and "[[1]]" in texts[0] for texts, *_ in asked)
    assert any(context for _, context, _ in asked)
    assert any(xml and '<x id="0"/>' in texts[0] for texts, _, xml in asked)


def negative(text: str) -> float:
    return -1.0


def unstated(text: str) -> Any:
    return None


class Closed(Translator):
    """It says that it takes options, and does not."""

    def translate(  # type: ignore[override]
        self, texts: Sequence[str], *, source: str, target: str
    ) -> list[str | Failure]:
        return [f"<{text}>" for text in texts]


class Broken(Translator):
    """It loses its voice at a placeholder."""

    def translate(
        self, texts: Sequence[str], *, source: str, target: str, context: str = "", xml: bool = False
    ) -> list[Any]:
        return [None if "[[0]]" in text else text for text in texts]


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (Translator(placeholder=None), None),
        (Translator(cost=None), None),
        (Translator(placeholder="[[0]]"), "placeholder must be a text with one {} and more"),
        (Translator(placeholder="{}"), "placeholder must be"),
        (Translator(placeholder="{}{}x"), "placeholder must be"),
        (Translator(placeholder="{{}}"), "placeholder must be"),
        (Translator(placeholder=7), "placeholder must be"),
        (Translator(options=["context"]), "options must be a tuple of some of context, xml"),
        (Translator(options=("context", "glossary")), "options must be"),
        (Translator(options="xml"), "options must be"),
        (Translator(unit=""), "unit must be a text"),
        (Translator(unit=None), "unit must be a text"),
        (Translator(cost=3), "cost must be a method"),
        (Translator(cost=negative), "cost must give a number that is not negative, and gave -1.0"),
        (Translator(cost=unstated), "cost must give a number"),
        (Closed(), "raised TypeError: .*unexpected keyword argument"),
        (Broken(), "must give str for each item, and gave None"),
    ],
)
def test_a_broken_optional_promise_is_told_in_a_sentence(broken: Any, sentence: str | None) -> None:
    if sentence is None:
        return check_translator(broken)
    with pytest.raises(AssertionError, match=sentence):
        check_translator(broken)


def test_the_names_of_the_room_stay_where_they_were() -> None:
    wanted = {"Billed", "DeepLServer", "FakeTranslator", "Fault", "Kind", "OpenAIServer", "check_filter"}
    assert wanted | {"check_judge", "check_template", "check_translator"} <= set(kullm.testing.__all__)
    with pytest.raises(Refused, match="no translation of 'b'"):
        FakeTranslator({"a": "x"}).translate(["b"], source="en", target="ko")
