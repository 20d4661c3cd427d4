"""Translation: kullm.translate with its memory on disk against a thread pool over the deepl client, on a local server.

The server waits 200 ms a request, so the limit is batch x calls in flight / 0.2 s (below the 50 requests a second that
DeepL allows). Prints texts a second and the ratios.

    python benchmarks/translate.py [--texts 20000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import deepl

import kullm
from kullm.rows import dataset
from kullm.testing import DeepLServer
from kullm.translators import DeepL

IN_FLIGHT, BATCH, WAIT = 8, 50, 0.2


def pool(server: DeepLServer, texts: list[str]) -> float:
    """The official client in threads, the fastest plain way to use it."""
    client = deepl.DeepLClient(server.key, server_url=server.url)
    batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    start = time.perf_counter()
    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        list(threads.map(lambda batch: client.translate_text(batch, source_lang="EN", target_lang="KO"), batches))
    return len(texts) / (time.perf_counter() - start)


def ours(server: DeepLServer, texts: list[str]) -> float:
    """kullm.translate, each response committed to a memory on disk before it is used."""
    rows = dataset([{"id": str(n), "instruction": text, "input": "", "output": ""} for n, text in enumerate(texts)],
                   ("id", "instruction", "input", "output"))  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        engine = DeepL(server.key, server.url, in_flight=IN_FLIGHT)
        start = time.perf_counter()
        kullm.translate(rows, engine, memory=Path(folder) / "memory.sqlite")
        return len(texts) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    texts = [
        f"Sentence number {number}, of a length that is usual in instruction data." * 3
        for number in range(options.texts)
    ]
    speed: dict[str, list[float]] = {"kullm": [], "pool": []}
    for _ in range(options.rounds):
        for which, run in (("kullm", ours), ("pool", pool)):
            with DeepLServer(lambda text: text, delay=WAIT) as server:
                speed[which].append(run(server, texts))
    limit = BATCH * IN_FLIGHT / WAIT
    for which, found in speed.items():
        print(f"{which:<6} {median(found):8.0f} texts/s  {median(found) / limit:5.2f} of the limit ({limit:.0f})")
    print(f"ratio  {median(speed['kullm']) / median(speed['pool']):8.2f}")


if __name__ == "__main__":
    main()
