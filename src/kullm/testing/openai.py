"""A local service of chat completions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kullm.errors import Refused
from kullm.testing.faults import Answer
from kullm.testing.service import Done, Service


@dataclass(eq=False, repr=False)
class OpenAIServer(Service):
    """A local server that speaks OpenAI's chat completions to the official client.

    `reply` gets the messages and gives the assistant's text, which is cut at the request's max_tokens (words,
    here). A wrong key answers 401; past `quota` requests: 429 insufficient_quota. `ledger`: the answered bodies.
    """

    reply: Callable[[list[dict[str, Any]]], str]
    ledger: list[dict[str, Any]] = field(default_factory=list, init=False)

    scheme, path, wrong_key, prefix = "Bearer", "/v1/chat/completions", 401, "/v1"
    spent = 429, "You exceeded your current quota.", "insufficient_quota"

    def look_up(self, path: str) -> Answer | None:
        """The list of models, where that is asked for."""
        model = {"id": "test-model", "object": "model", "created": 0, "owned_by": "kullm"}
        return {"object": "list", "data": [model]} if path == "/v1/models" else None

    def work(self, request: dict[str, Any], size: int) -> Done:
        """Reply to the messages of a request. Its text in a ledger file is that of the last message."""
        messages = request.get("messages")
        if not isinstance(messages, list) or not messages or "model" not in request or request.get("stream"):
            raise Refused("'model' and 'messages' are wanted, and no stream")
        words = re.findall(r"\s*\S+|\s+$", self.reply(messages))
        most = request.get("max_completion_tokens") or request.get("max_tokens") or len(words)
        message = {"role": "assistant", "content": "".join(words[:most])}
        choice = {"index": 0, "message": message, "finish_reason": "length" if len(words) > most else "stop"}
        asked, said = len(str(messages).split()), len(words[:most])
        usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
        head = {"id": "chatcmpl-test", "object": "chat.completion", "created": 0}
        answer = head | {"model": request["model"], "choices": [choice], "usage": usage}
        return Done(answer, 1, request, [str(messages[-1].get("content"))])
