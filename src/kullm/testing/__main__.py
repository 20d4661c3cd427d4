"""A test server in a process of its own: prints its URL and serves until it is killed.

python -m kullm.testing deepl --port 0 --delay 0.1 --key test-key --translate korean --ledger billed.jsonl
"""

from __future__ import annotations

import argparse
import contextlib
import threading
from pathlib import Path

from kullm.testing.deepl import DeepLServer
from kullm.testing.fakes import TRANSLATIONS, reply_with
from kullm.testing.openai import OpenAIServer


def main() -> None:
    """Read the command line, print the URL on one line, and serve."""
    parser = argparse.ArgumentParser(prog="python -m kullm.testing", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("service", choices=("deepl", "openai"))
    parser.add_argument("--port", type=int, default=0, help="where to listen; 0: any free port")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds from a request to its work")
    parser.add_argument("--key", default="test-key")
    parser.add_argument("--quota", type=int, help="characters (deepl) or requests (openai)")
    parser.add_argument("--ledger", type=Path, help="a file that gets a line of JSON for each billed request")
    parser.add_argument("--translate", choices=tuple(TRANSLATIONS), default="identity")
    asked = parser.parse_args()
    translate = TRANSLATIONS[asked.translate]
    settings = {"port": asked.port, "delay": asked.delay, "key": asked.key, "quota": asked.quota}
    server: DeepLServer | OpenAIServer
    if asked.service == "deepl":
        server = DeepLServer(translate, ledger_file=asked.ledger, **settings)
    else:
        server = OpenAIServer(reply_with(translate), ledger_file=asked.ledger, **settings)
    with contextlib.suppress(KeyboardInterrupt), server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
