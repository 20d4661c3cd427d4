"""`kullm.remote.Wire` over a real socket: it cannot hang, cannot be flooded, and goes nowhere else."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from kullm.errors import Passing, ServiceDown, UnknownOutcome, UsageError
from kullm.remote.wire import Reply, Wire
from kullm.testing import DeepLServer, Fault, OpenAIServer

MIB = 2**20
LATE = 0.7
"""Seconds that a busy machine may add to any deadline."""


@dataclass
class Client:
    """A wire to a DeepL on this machine."""

    server: DeepLServer
    wire: Wire

    def ask(self, text: str = "Hello there.") -> Reply:
        return self.wire.call(
            "POST",
            "/v2/translate",
            {"Authorization": "DeepL-Auth-Key test-key"},
            json.dumps({"text": [text], "target_lang": "KO"}).encode(),
        )


@contextmanager
def connected(*faults: Fault, deadline: float = 20.0, **settings: Any) -> Iterator[Client]:
    with DeepLServer(lambda text: text * 2, faults=faults, **settings) as server:
        client = Client(server, Wire(server.url, 4, deadline))
        try:
            yield client
        finally:
            client.wire.close()


def texts(reply: Reply) -> list[str]:
    return [item["text"] for item in json.loads(reply.body)["translations"]]


# Good answers


def test_an_answer_comes_through_whole_with_its_status_and_headers() -> None:
    with connected() as client:
        reply = client.ask("한국어 \U0001f600")
        assert (reply.status, texts(reply)) == (200, ["한국어 \U0001f600한국어 \U0001f600"])
        assert reply.headers["content-type"] == "application/json"
        assert client.server.characters == 5


def test_a_large_answer_is_taken_whole_below_the_cap_and_the_connection_serves_the_next() -> None:
    with connected(Fault("bomb", size=15 * MIB)) as client:
        assert len(client.ask().body) == 15 * MIB
        assert texts(client.ask()) == ["Hello there.Hello there."]


def test_an_error_of_the_service_is_an_answer_with_a_body() -> None:
    with connected(Fault("status", status=456)) as client:
        reply = client.ask()
        assert reply.status == 456
        assert json.loads(reply.body)["message"]


@pytest.mark.parametrize("kind", ["empty", "html", "half", "odd-type", "two-types"])
def test_what_is_no_json_is_handed_on_for_the_adapter_to_judge(kind: Any) -> None:
    with connected(Fault(kind)) as client:
        assert client.ask().status == 200
        assert texts(client.ask()) == ["Hello there.Hello there."]


# The cap


@pytest.mark.parametrize("kind", ["bomb", "flood"])
def test_a_flood_is_cut_off_in_bounded_memory(kind: Any) -> None:
    with connected(Fault(kind)) as client:
        tracemalloc.start()
        try:
            with pytest.raises(UnknownOutcome, match="larger than 16 MiB"):
                client.ask()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 32 * MIB, "300 MiB were on their way, or more"
        assert texts(client.ask()) == ["Hello there.Hello there."]


# The deadline


def seconds(client: Client) -> float:
    """How long a call took that ended without an answer."""
    start = time.monotonic()
    with pytest.raises(UnknownOutcome):
        client.ask()
    return time.monotonic() - start


@pytest.mark.parametrize("kind", ["hang", "slow"])
def test_silence_ends_at_the_deadline(kind: Any) -> None:
    with connected(Fault(kind, seconds=6.0), deadline=0.4) as client:
        assert 0.35 <= seconds(client) < 0.4 + LATE
        assert texts(client.ask()) == ["Hello there.Hello there."]


def test_a_body_that_drips_ends_at_the_deadline() -> None:
    with connected(Fault("slow-body", seconds=0.03), deadline=0.4) as client:
        assert 0.35 <= seconds(client) < 0.4 + LATE
        assert texts(client.ask()) == ["Hello there.Hello there."]


def test_a_server_that_is_not_there_is_known_at_once() -> None:
    with DeepLServer(lambda text: text) as server:
        pass
    start = time.monotonic()
    with pytest.raises(Passing, match="refused"):
        Client(server, Wire(server.url, 1, 20.0)).ask()
    assert time.monotonic() - start < LATE


# Answers that break off


@pytest.mark.parametrize("kind", ["torn", "cut", "chunks"])
def test_a_body_that_breaks_off_is_an_unknown_outcome_and_never_half_an_answer(kind: Any) -> None:
    with connected(Fault(kind)) as client:
        with pytest.raises(UnknownOutcome, match="broke off"):
            client.ask()
        assert client.server.characters == len("Hello there."), "it was billed"
        assert texts(client.ask()) == ["Hello there.Hello there."]


@pytest.mark.parametrize("kind", ["reset", "fin"])
def test_a_connection_that_ends_without_an_answer_is_an_error_and_is_not_tried_again(kind: Any) -> None:
    with connected(Fault(kind)) as client:
        with pytest.raises(UnknownOutcome, match="no answer"):
            client.ask()
        assert client.server.requests == 1


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_so_that_neither_key_nor_text_goes_elsewhere(status: int) -> None:
    with connected(Fault("redirect", status=status)) as client:
        with pytest.raises(UnknownOutcome, match=r"redirected to http://127\.0\.0\.1:\d+/v2/translate, which is not"):
            client.ask()
        assert client.server.strays == []
        assert texts(client.ask()) == ["Hello there.Hello there."]


# What it goes through


def test_a_wire_serves_other_services_too() -> None:
    with OpenAIServer(lambda messages: "안녕") as server:
        wire = Wire(server.url, 1, 10.0)
        reply = wire.call("GET", "/v1/models", {"Authorization": "Bearer test-key"})
        assert json.loads(reply.body)["data"][0]["id"] == "test-model"


def test_the_proxy_of_the_environment_is_used_but_for_what_is_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's own address stands in the first line, so that a proxy knows where to go."""
    seen: list[tuple[str, str]] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append((self.path, self.headers["Proxy-Authorization"]))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Nothing on the screen of a test."""

    proxy = HTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("http_proxy", f"http://me:word@127.0.0.1:{proxy.server_port}")
        monkeypatch.setenv("no_proxy", "")
        far = Wire("http://service.invalid/api", 1, 5.0)
        assert far.call("POST", "/v2/translate", {}, b"{}").body == b"{}"
        assert seen == [("http://service.invalid/v2/translate", "Basic bWU6d29yZA==")]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with connected() as client:
            assert texts(client.ask()) == ["Hello there.Hello there."]
        assert len(seen) == 1
    finally:
        proxy.shutdown()
        proxy.server_close()


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                with suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
                    got.append(secure.recv(65536))
                    if got[-1].endswith(b"break it"):
                        os.write(secure.fileno(), b"no record of TLS")
                        continue
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        threading.Thread(target=serve, daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServiceDown, match=r"No secure connection.*certificate"):
            Wire(url, 1, 5.0).call("POST", "/", {}, b"a text")
        assert got == []
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
            wire = Wire(url, 1, 5.0)
        assert wire.call("POST", "/", {}, b"a text").body == b"{}"
        assert got[0].endswith(b"a text"), "head and body came in one piece"
        wire.close()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
            wire = Wire(url, 1, 5.0)
        with pytest.raises(UnknownOutcome, match="no answer"):
            wire.call("POST", "/", {}, b"break it")
        wire.close()


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(UsageError, match=r"'https://\[x' is not to be reached"):
        Wire("https://[x", 1, 5.0)


@pytest.mark.parametrize("proxy", ["socks9://127.0.0.1:1", "http:///x"])
def test_a_proxy_that_is_none_is_named(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(UsageError, match="proxies of the environment"):
        Wire("https://service.invalid", 1, 5.0).call("POST", "/", {}, b"a text")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (None, Passing),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", Passing),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", ServiceDown),
        (b"", Passing),
    ],
)
def test_a_proxy_that_is_not_there_or_says_no_has_sent_nothing(
    said: bytes | None, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "")
        if said is None:
            listener.close()
        else:
            threading.Thread(target=answered_once, args=(listener, said), daemon=True).start()
        with pytest.raises(error):
            Wire("https://service.invalid", 1, 5.0).call("POST", "/", {}, b"a text")


def answered_once(listener: socket.socket, said: bytes) -> None:
    with suppress(OSError):
        plain, _ = listener.accept()
        with plain:
            plain.recv(65536)
            plain.sendall(said)


def test_what_breaks_before_the_first_byte_passes_and_what_breaks_after_it_is_of_unknown_outcome() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answered_once, args=(listener, b"this is no handshake"), daemon=True).start()
        with pytest.raises(Passing, match="not reached"):
            Wire(f"https://127.0.0.1:{listener.getsockname()[1]}", 1, 5.0).call("POST", "/", {}, b"a text")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answered_once, args=(listener, b"this is no answer"), daemon=True).start()
        with pytest.raises(UnknownOutcome, match="no answer"):
            Wire(f"http://127.0.0.1:{listener.getsockname()[1]}", 1, 5.0).call("POST", "/", {}, b"a text")
