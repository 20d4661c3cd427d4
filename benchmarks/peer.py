"""dataset-translator on texts against a local server: its own batching, concurrency and checkpoints, our transport.

Its service is Google Translate, which cannot be asked here; the modules that reach it are replaced by empty ones, and
its `translator` by one that posts to the server. Prints the seconds that `process_texts` takes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import aiohttp

for name in ("googletrans", "google", "google.api_core", "google.api_core.client_options", "google.cloud"):
    sys.modules[name] = ModuleType(name)
sys.modules["googletrans"].Translator = object  # type: ignore[attr-defined]
sys.modules["google.api_core.client_options"].ClientOptions = object  # type: ignore[attr-defined]
sys.modules["google.cloud"].translate_v2 = None  # type: ignore[attr-defined]

from src.main import process_texts  # type: ignore[import-untyped]  # noqa: E402


class Transport:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, f"{url}/v2/translate"

    async def translate(self, texts: list[str], src: str, dest: str) -> list[Any]:
        body = {"text": texts, "target_lang": dest.upper(), "source_lang": src.upper()}
        async with self.session.post(self.url, json=body, headers={"Authorization": "DeepL-Auth-Key bench"}) as reply:
            answer = await reply.json()
        return [SimpleNamespace(text=one["text"]) for one in answer["translations"]]


async def main(url: str, file: str, in_flight: str, folder: str) -> None:
    items = [(number, "text", text) for number, text in enumerate(json.loads(Path(file).read_text()))]
    async with aiohttp.ClientSession() as session:
        start = time.perf_counter()
        await process_texts(
            items, Transport(session, url), "en", "ko", [], Path(folder), "jsonl", 50, int(in_flight), 500, 3
        )
        print(time.perf_counter() - start)


asyncio.run(main(*sys.argv[1:]))
