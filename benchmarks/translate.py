"""Translation against a local server that needs 100 ms a request and takes 50 texts, in a process of its own.

Prints texts a second as a share of the limit, which is 50 texts x calls in flight / 0.1 s: kullm with protection,
verification, verdicts and its memory on disk; the official client in a thread pool; dataset-translator; and the plain
loop of one text a call. Then the CPU time of protection and verification, the memory that a long stream takes, and
what a finished run costs when it is started again.

    python benchmarks/translate.py [--requests 1000] [--rounds 3] [--stream 1500000] [--again 150000]
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import datasets
import deepl
from corpus import korean, rows

import kullm
from kullm.rows import dataset
from kullm.testing import FakeTranslator
from kullm.translators import DeepL
from kullm.translators.spans import XML, Damage, protect

BATCH, WAIT = 50, 0.1
COLUMNS = ("id", "source", "licence", "instruction", "input", "output")
FIELDS = ("instruction", "input", "output")


@contextmanager
def server() -> Iterator[str]:
    """The address of a test server in another process."""
    command = [sys.executable, str(Path(__file__).with_name("server.py")), str(WAIT), "/dev/null"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def ours(url: str, texts: list[str], in_flight: int) -> float:
    """kullm.translate, everything on."""
    data = dataset([{"id": str(n), "instruction": text} for n, text in enumerate(texts)], COLUMNS)
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


def throughput(requests: int, rounds: int) -> None:
    lines = [line for row in rows(requests) for name in FIELDS for line in row[name].split("\n") if line.strip()]
    asked = [line for line in dict.fromkeys(lines) if len(protect(line).segments) == 1]
    extra = 0
    while len(asked) < requests * BATCH:
        extra += 1
        more = (line for row in rows(requests, extra) for name in FIELDS for line in row[name].split("\n"))
        asked = list(dict.fromkeys([*asked, *(line for line in more if len(protect(line).segments) == 1)]))
    asked = asked[: requests * BATCH]
    mean = sum(map(len, asked)) / len(asked)
    spans = sum(len(protect(text).segments[0].parts) > 1 for text in asked) / len(asked)
    print(f"{len(asked)} texts, {mean:.0f} characters on average, {spans:.0%} with spans; share of the limit")
    for in_flight in (5, 16, 32):
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, run in (("kullm", ours), ("client in a pool", pool), ("dataset-translator", peer)):
                with server() as url:
                    gc.collect()
                    found.setdefault(name, []).append(len(asked) / run(url, asked, in_flight))
        limit = BATCH * in_flight / WAIT
        for name, speeds in found.items():
            print(f"{in_flight:>3} in flight  {name:<20} {median(speeds):8.0f} texts/s  {median(speeds) / limit:5.2f}")
    with server() as url:
        speed = 100 / loop(url, asked[:100], 1)
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


def streamed(count: int) -> None:
    """Peak memory while rows stream through, at three points on the way."""
    engine = FakeTranslator(korean, limits=kullm.Limits(items=50, in_flight=4), options=("context", "xml"))
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
    """A finished run of that many rows, started again."""
    data = dataset(list(rows(count)), COLUMNS)
    engine = FakeTranslator(korean, limits=kullm.Limits(items=50, in_flight=4), options=("context", "xml"))
    with tempfile.TemporaryDirectory() as folder:
        first = kullm.translate(data, engine, memory=Path(folder) / "memory.sqlite")
        asked = len(engine.calls)
        start = time.perf_counter()
        second = kullm.translate(data, engine, memory=Path(folder) / "memory.sqlite")
        spent = time.perf_counter() - start
    assert first.to_list() == second.to_list()
    print(f"a finished run of {count:,} rows again: {len(engine.calls) - asked} requests, {spent:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stream", type=int, default=1_500_000)
    parser.add_argument("--again", type=int, default=150_000)
    options = parser.parse_args()
    logging.getLogger("kullm").setLevel(logging.WARNING)
    if options.requests:
        throughput(options.requests, options.rounds)
    protection(2_000)
    if options.again:
        again(options.again)
    if options.stream:
        streamed(options.stream)


if __name__ == "__main__":
    main()
