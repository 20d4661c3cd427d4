"""A DeepL server in a process of its own that answers the benchmark's rows. Prints its address; ends when killed."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from corpus import korean

from kullm.testing import DeepLServer

korean("all is loaded now")
with DeepLServer(korean, key="bench", delay=float(sys.argv[1]), ledger_file=Path(sys.argv[2])) as server:
    print(server.url, flush=True)
    threading.Event().wait()
