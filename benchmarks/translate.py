"""Translation against a local server that needs 100 ms a request and takes 50 texts, in a process of its own.

Prints texts a second as a share of the limit, which is 50 texts x calls in flight / the time of a bare request: kullm
with protection, verification, verdicts and its memory on disk; the official client in a thread pool; and
dataset-translator. Then the plain loop of one text a call, the CPU time of protection and verification, the memory that
a long stream takes, and what a finished run costs when it is started again.

    python benchmarks/translate.py [--in-flight 5 16 32] [--seconds 20] [--rounds 3] [--stream 1500000] [--again 150000]
"""

from __future__ import annotations

import argparse
import gc
import http.client
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import datasets
import deepl
from corpus import korean, rows

import kullm
from kullm.remote import Memory
from kullm.rows import dataset
from kullm.translators import DeepL
from kullm.translators.spans import XML, Damage, protect

BATCH, WAIT, OWN = 50, 0.1, 0.0015
"""Texts a request, seconds from a request to its answer, and how many of them the server needs beside its delay."""
COLUMNS = ("id", "source", "licence", "instruction", "input", "output")
FIELDS = ("instruction", "input", "output")


@contextmanager
def server(wait: float = WAIT - OWN) -> Iterator[str]:
    """The address of a test server in another process."""
    command = [sys.executable, str(Path(__file__).with_name("server.py")), str(wait), "/dev/null"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def ours(url: str, data: datasets.Dataset, in_flight: int) -> float:
    """kullm.translate on whole rows, everything on."""
    engine = DeepL("bench", url, in_flight=in_flight, per_second=None)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        kullm.translate(data, engine, memory=Path(folder) / "memory.sqlite")
        return time.perf_counter() - start


def pool(url: str, texts: list[str], in_flight: int) -> float:
    """The official client in threads, the fastest plain way to use it. It keeps nothing and checks nothing."""
    client = deepl.DeepLClient("bench", server_url=url)
    batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    start = time.perf_counter()
    with ThreadPoolExecutor(in_flight) as threads:
        list(threads.map(lambda batch: client.translate_text(batch, source_lang="EN", target_lang="KO"), batches))
    return time.perf_counter() - start


def peer(url: str, texts: list[str], in_flight: int) -> float:
    """dataset-translator, with batches of 50 and that many at once, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(texts))
        command = [sys.executable, str(Path(__file__).with_name("peer.py")), url, str(file), str(in_flight), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def loop(url: str, texts: list[str], in_flight: int) -> float:
    """One text a call, one call after the other."""
    client = deepl.DeepLClient("bench", server_url=url)
    start = time.perf_counter()
    for text in texts:
        client.translate_text(text, source_lang="EN", target_lang="KO")
    return time.perf_counter() - start


def bare(url: str, texts: list[str]) -> float:
    """The seconds that one request of 50 texts takes at least, by the standard library's client."""
    connection = http.client.HTTPConnection(url.partition("//")[2])
    body = json.dumps({"text": texts[:BATCH], "source_lang": "EN", "target_lang": "KO"})
    headers = {"Authorization": "DeepL-Auth-Key bench", "Content-Type": "application/json"}
    found = []
    for _ in range(30):
        start = time.perf_counter()
        connection.request("POST", "/v2/translate", body, headers)
        connection.getresponse().read()
        found.append(time.perf_counter() - start)
    connection.close()
    return median(found)


def material(count: int) -> tuple[datasets.Dataset, list[str]]:
    """Rows, and what they hold to be translated: that many different texts, line by line."""
    texts: dict[str, None] = {}
    taken: list[dict[str, str]] = []
    for row in rows(count):
        if len(texts) >= count:
            break
        taken.append(row)
        texts |= dict.fromkeys(segment.text for name in FIELDS for segment in protect(row[name]).segments)
    return dataset(taken, COLUMNS), list(texts)


def throughput(calls: Sequence[int], seconds: float, rounds: int) -> None:
    """Runs with so many calls in flight that take that many seconds at the limit, and more where they miss it."""
    for in_flight in calls:
        requests = round(in_flight * seconds / WAIT)
        data, texts = material(requests * BATCH)
        mean = sum(map(len, texts)) / len(texts)
        print(f"{requests} requests: {len(data)} rows with {len(texts)} texts of {mean:.0f} characters on average")
        with server() as url:
            latency = bare(url, texts)
            print(f"a bare request of 50 texts, one at a time: {latency * 1e3:.1f} ms", flush=True)
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, run in (("kullm", ours), ("client in a pool", pool), ("dataset-translator", peer)):
                with server() as url:
                    gc.collect()
                    work: Any = data if run is ours else texts
                    found.setdefault(name, []).append(len(texts) / run(url, work, in_flight))
        limit = BATCH * in_flight / latency
        for name, speeds in found.items():
            shares = ", ".join(f"{speed / limit:.2f}" for speed in sorted(speeds))
            print(
                f"{in_flight:>3} in flight  {name:<20} {median(speeds):8.0f} texts/s  {shares} of the limit", flush=True
            )
    with server() as url:
        speed = 100 / loop(url, texts[:100], 1)
    print(f"  1 in flight  {'one text a call':<20} {speed:8.0f} texts/s")


def protection(count: int) -> None:
    texts = [row[name] for row in rows(count) for name in FIELDS if row[name]]
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        for text in texts:
            for segment in protect(text).segments:
                assert not isinstance(XML.read(XML.write(segment), segment), Damage)
        best = min(best, time.process_time() - start)
    mean = sum(map(len, texts)) / len(texts)
    print(f"protection and verification: {best / len(texts) * 1e6:.0f} µs CPU a text of {mean:.0f} characters")


class Instant:
    """Answers at once and keeps nothing."""

    identity, limits, options = "instant", kullm.Limits(items=BATCH, in_flight=4), ("context", "xml")

    def translate(
        self, texts: Sequence[str], *, source: str, target: str, context: str = "", xml: bool = False
    ) -> list[str]:
        return [korean(text) for text in texts]


def streamed(count: int) -> None:
    """Peak memory while rows stream through, at three points on the way."""
    engine = Instant()
    features = datasets.Features({name: datasets.Value("string") for name in COLUMNS})
    source = datasets.IterableDataset.from_generator(rows, features=features, gen_kwargs={"count": count})
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        for number, _ in enumerate(kullm.translate(source, engine, memory=Path(folder) / "memory.sqlite"), 1):
            if number in (count // 10, count // 3, count):
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                spent = time.perf_counter() - start
                print(f"streamed {number:>9,} rows: peak {peak:6.0f} MiB, {number / spent:6.0f} rows/s", flush=True)


def again(count: int) -> None:
    """A finished translation of a file of that many rows, started again with the same command; and by the library."""
    with tempfile.TemporaryDirectory() as folder, server(0) as url:
        file, memory = Path(folder) / "rows.jsonl", Path(folder) / "memory.sqlite"
        with file.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(count))
        command = [Path(sys.executable).with_name("kullm"), "translate", str(file), "-o", f"{folder}/korean.jsonl"]
        command += ["--memory", str(memory), "--server-url", url]
        runs = []
        for _ in range(2):
            start, before = time.perf_counter(), asked(memory)
            subprocess.run(command, env=os.environ | {"DEEPL_AUTH_KEY": "bench"}, check=True, capture_output=True)
            runs.append((time.perf_counter() - start, asked(memory) - before))
        for name, (seconds, requests) in zip(("first", "again"), runs, strict=True):
            print(f"{count:,} rows, the command, {name}: {requests} requests, {seconds:.1f} s", flush=True)
        start, before = time.perf_counter(), asked(memory)
        kullm.translate(kullm.load(file), DeepL("bench", url), memory=memory)
        seconds, requests = time.perf_counter() - start, asked(memory) - before
        print(f"{count:,} rows, kullm.translate, again: {requests} requests, {seconds:.1f} s", flush=True)


def asked(memory: Path) -> int:
    """The calls that were ever begun."""
    with Memory(memory) as store:
        return len(store.calls())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[5, 16, 32])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stream", type=int, default=1_500_000)
    parser.add_argument("--again", type=int, default=150_000)
    options = parser.parse_args()
    logging.getLogger("kullm").setLevel(logging.WARNING)
    if options.in_flight:
        throughput(options.in_flight, options.seconds, options.rounds)
    protection(2_000)
    if options.again:
        again(options.again)
    if options.stream:
        streamed(options.stream)


if __name__ == "__main__":
    main()
