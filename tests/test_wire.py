"""`kullm.remote.Wire` over a real socket: it cannot hang, cannot be flooded, and goes nowhere else."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from kullm.errors import UnknownOutcome
from kullm.remote import Wire, retry_after
from kullm.testing import DeepLServer, Fault, OpenAIServer

MIB = 2**20
LATE = 0.7
"""Seconds that a busy machine may add to any deadline."""


@dataclass
class Client:
    """A session of `requests` over a wire, to a DeepL on this machine."""

    server: DeepLServer
    wire: Wire
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.mount("http://", self.wire.adapter())

    def ask(self, text: str = "Hello there.") -> requests.Response:
        return self.session.post(
            f"{self.server.url}/v2/translate",
            json={"text": [text], "target_lang": "KO"},
            headers={"Authorization": "DeepL-Auth-Key test-key"},
        )


@contextmanager
def connected(*faults: Fault, deadline: float = 20.0, **settings: Any) -> Iterator[Client]:
    with DeepLServer(lambda text: text * 2, faults=faults, **settings) as server:
        client = Client(server, Wire(4, deadline))
        try:
            yield client
        finally:
            client.session.close()


def texts(response: requests.Response) -> list[str]:
    return [item["text"] for item in response.json()["translations"]]


# Good answers


def test_an_answer_comes_through_whole_with_its_status_and_headers() -> None:
    with connected() as client:
        response = client.ask("한국어 \U0001f600")
        assert (response.status_code, texts(response)) == (200, ["한국어 \U0001f600한국어 \U0001f600"])
        assert client.wire.headers["Content-Type"] == "application/json"
        assert client.server.characters == 5


def test_a_large_answer_is_taken_whole_below_the_cap_and_the_connection_serves_the_next() -> None:
    with connected(Fault("bomb", size=15 * MIB)) as client:
        assert len(client.ask().content) == 15 * MIB
        assert texts(client.ask()) == ["Hello there.Hello there."]


def test_an_error_of_the_service_is_an_answer_with_a_body() -> None:
    with connected(Fault("status", status=456)) as client:
        response = client.ask()
        assert response.status_code == 456
        assert response.json()["message"]


@pytest.mark.parametrize("kind", ["empty", "html", "half", "odd-type", "two-types"])
def test_what_is_no_json_is_handed_on_for_the_adapter_to_judge(kind: Any) -> None:
    with connected(Fault(kind)) as client:
        assert client.ask().status_code == 200
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


def seconds(client: Client, error: type[Exception] | tuple[type[Exception], ...]) -> float:
    """How long a call took that ended with `error`."""
    start = time.monotonic()
    with pytest.raises(error):
        client.ask()
    return time.monotonic() - start


@pytest.mark.parametrize("kind", ["hang", "slow"])
def test_silence_ends_at_the_deadline(kind: Any) -> None:
    with connected(Fault(kind, seconds=6.0), deadline=0.4) as client:
        assert 0.35 <= seconds(client, requests.ReadTimeout) < 0.4 + LATE
        assert texts(client.ask()) == ["Hello there.Hello there."]


def test_a_body_that_drips_ends_at_the_deadline() -> None:
    with connected(Fault("slow-body", seconds=0.03), deadline=0.4) as client:
        assert 0.35 <= seconds(client, UnknownOutcome) < 0.4 + LATE
        assert texts(client.ask()) == ["Hello there.Hello there."]


def test_a_server_that_is_not_there_is_known_at_once() -> None:
    with connected() as client:
        pass
    start = time.monotonic()
    with pytest.raises(requests.ConnectionError, match="refused"):
        client.ask()
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
        with pytest.raises(requests.ConnectionError):
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


# Headers


def test_the_headers_are_those_of_the_last_answer_and_none_after_silence() -> None:
    faults = (Fault("status", status=429, retry_after="7"), Fault("reset", [2]))
    with connected(*faults) as client:
        assert client.wire.headers == {}
        assert client.ask().status_code == 429
        assert retry_after(client.wire.headers) == 7.0
        client.ask()
        assert retry_after(client.wire.headers) is None
        assert client.wire.headers
        with pytest.raises(requests.ConnectionError):
            client.ask()
        assert client.wire.headers == {}


def test_every_thread_sees_the_headers_of_its_own_last_answer() -> None:
    seen: dict[str, float | None] = {}
    with connected(Fault("status", [0], status=429, retry_after="3")) as first:
        with connected(Fault("status", [0], status=429, retry_after="9")) as second:
            second.wire = first.wire
            second.session.mount("http://", first.wire.adapter())
            both = threading.Barrier(2, timeout=10)

            def work(name: str, client: Client) -> None:
                client.ask()
                both.wait()  # the other one has its answer too
                seen[name] = retry_after(client.wire.headers)

            threads = [
                threading.Thread(target=work, args=pair) for pair in (("first", first), ("second", second))
            ]  # fmt: skip
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert first.wire.headers == {}, "this thread had no answer"
    assert seen == {"first": 3.0, "second": 9.0}


def test_a_wire_serves_other_services_too() -> None:
    with OpenAIServer(lambda messages: "안녕") as server, requests.Session() as session:
        session.mount("http://", Wire(1, 10.0).adapter())
        response = session.get(f"{server.url}/models", headers={"Authorization": "Bearer test-key"})
        assert response.json()["data"][0]["id"] == "test-model"
