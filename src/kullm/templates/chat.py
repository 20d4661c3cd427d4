"""The chat template that a tokenizer brings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kullm.errors import InputError, UsageError
from kullm.rows import Example
from kullm.templates import jinja
from kullm.templates.template import Exchange

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARK = "\ue000answer\ue001"
"""Stands for an answer, to see what a template writes around one."""

_ONE_TURN = "Make a row of each turn, or use a template that writes every turn alike, such as chatml."


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template in Jinja, as a tokenizer brings it, rendered as `transformers` does; needs no torch.

    `ChatTemplate()` stands for the one of the tokenizer in use: `bind` gives it its text. `bos`, `eos` and `special`
    are the texts of the tokenizer's special tokens, `named` those that have a name in the template (`pad_token`).
    `system` is a system message for every row, and `variables` are passed to the template (`enable_thinking`). An
    input stands behind its instruction, after a blank line.

    What stands before an answer, and what closes it, is found by rendering the conversation up to each turn, with
    and without the generation prompt. A template that writes earlier turns otherwise when others follow, as Qwen3's
    does with its thoughts, has no text that grows: a row with earlier turns is then an `InputError`.
    """

    text: str = ""
    bos: str = ""
    eos: str = ""
    system: str = ""
    name: str = "chat"
    special: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict, hash=False)
    variables: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def load(cls, path: str | Path, **settings: Any) -> ChatTemplate:
        """The chat template of a file such as `chat_template.jinja`; `bind` adds the special tokens. `settings` are
        fields. Raises `InputError` where the file is not to be read.
        """
        try:
            return cls(text=Path(path).read_text(encoding="utf-8"), **settings)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The chat template {path} is not to be read: {error}.") from None

    def bind(self, tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
        """This template with the tokenizer's special tokens and, where it has no text, the tokenizer's.

        Raises `UsageError` where neither has a text.
        """
        brought: Any = tokenizer.chat_template
        text = self.text or (brought.get("default") if isinstance(brought, dict) else brought)
        if not text:
            raise UsageError(
                f"The tokenizer {tokenizer.name_or_path or type(tokenizer).__name__} has no chat template.",
                next="Use a template such as kullm or chatml, or ChatTemplate.load(file).",
            )
        return replace(
            self,
            text=str(text),
            bos=str(tokenizer.bos_token or ""),
            eos=str(tokenizer.eos_token or ""),
            special=jinja.special_texts(tokenizer),
            named={name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)},
        )

    @property
    def end(self) -> str:
        """What closes an answer, up to the special token that ends it."""
        return _around(self, self._asked([("가", "")], 0), "")[1]

    def prompt(self, example: Example) -> str:
        """The prompt of a row's own turn, behind its earlier ones."""
        turns = self._turns(example)
        done, _ = self._before(example, turns, len(turns) - 1)
        return self._next(example, done, self._render(self._asked(turns, len(turns) - 1), ask=True))

    def exchanges(self, example: Example) -> list[Exchange]:
        """Every turn of a row, its own last.

        Raises `InputError` where the template rewrites earlier turns, changes an answer, writes special tokens before
        one, or refuses the row.
        """
        turns = self._turns(example)
        return self._before(example, turns, len(turns))[1]

    def answer(self, completion: str) -> str:
        """`completion` without what the template writes around an answer, and the white space."""
        if not self.text:
            return completion.strip()
        lead, end = _around(self, self._asked([("가", "")], 0), "")
        return completion.strip().removeprefix(lead.strip()).removesuffix(end.strip()).strip()

    def jinja(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """The chat template to save beside a model: its text, with `system` and `variables` as defaults, and behind
        the tokenizer's beginning of text where the tokenizer adds one and the template writes none.
        """
        bound = self.bind(tokenizer)
        start = jinja.opening(tokenizer, bound.prompt(Example("", "가")))
        given = [
            f"{{%- if {name} is not defined -%}}{{%- set {name} = {jinja.literal(value)} -%}}{{%- endif -%}}\n"
            for name, value in self.variables.items()
        ]
        if self.system:
            message = f"{{'role': 'system', 'content': {jinja.literal(self.system)}}}"
            given.append(
                "{%- if messages[0]['role'] != 'system' -%}"
                f"{{%- set messages = [{message}] + messages -%}}{{%- endif -%}}\n"
            )
        return "".join(given) + f"{{{{- {start} }}}}" * bool(given or start != '""') + bound.text

    def _turns(self, example: Example) -> list[tuple[str, str]]:
        if not self.text:
            raise UsageError(
                "This chat template is that of a tokenizer, and none is given yet.",
                next="Bind it: template.bind(tokenizer).",
            )
        asked = f"{example.instruction}\n\n{example.input}" if example.input.strip() else example.instruction
        return [*((turn.instruction, turn.output) for turn in example.history), (asked, example.output)]

    def _asked(self, turns: list[tuple[str, str]], turn: int) -> list[dict[str, str]]:
        """The messages up to the question of a turn."""
        said = [{"role": "system", "content": self.system}] if self.system else []
        for instruction, output in turns[:turn]:
            said += [{"role": "user", "content": instruction}, {"role": "assistant", "content": output}]
        return [*said, {"role": "user", "content": turns[turn][0]}]

    def _before(self, example: Example, turns: list[tuple[str, str]], count: int) -> tuple[str, list[Exchange]]:
        """The text of the first turns up to the end of the last one's answer, and the turns."""
        done = ""
        made: list[Exchange] = []
        for turn in range(count):
            messages = self._asked(turns, turn)
            asked = self._render(messages, ask=True)
            prompt = self._next(example, done, asked)
            lead, end = _around(self, messages, asked)
            whole = self._render([*messages, {"role": "assistant", "content": turns[turn][1]}])
            answer = self._verbatim(example, asked + lead, turns[turn][1], end, whole)
            made.append(Exchange(prompt, lead + answer, end))
            done = asked + lead + answer + end
        return done, made

    def _next(self, example: Example, done: str, asked: str) -> str:
        """What `asked` adds to what is `done`."""
        if not asked.startswith(done):
            raise InputError(
                f"The row {example.id}: the chat template writes an earlier turn otherwise when another follows.",
                next=_ONE_TURN,
            )
        return asked[len(done) :]

    def _verbatim(self, example: Example, before: str, output: str, end: str, whole: str) -> str:
        """The output as the template writes it: as it is, or stripped."""
        for answer in (output, output.strip(), output.lstrip(), output.rstrip()):
            if whole.startswith(before + answer + end):
                return answer
        raise InputError(
            f"The row {example.id}: the chat template does not write the answer as it is.",
            next="It may read marks in it, such as </think>. Change the row, or use another template.",
        )

    def _render(self, messages: list[dict[str, str]], *, ask: bool = False) -> str:
        tokens = {"bos_token": self.bos, "eos_token": self.eos}
        given = {key: value for key, value in tokens.items() if value} | dict(self.named) | dict(self.variables)
        return jinja.render(
            self.text,
            {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": ask} | given,
        )


def _around(template: ChatTemplate, messages: list[dict[str, str]], asked: str) -> tuple[str, str]:
    """What the template writes before an answer, behind the prompt `asked`, and what closes the answer.

    An answer is closed by the first special token behind it; where there is none, by the text behind it without the
    white space at its end.
    """
    asked = asked or template._render(messages, ask=True)
    whole = template._render([*messages, {"role": "assistant", "content": _MARK}])
    if not whole.startswith(asked) or whole.count(_MARK) != 1:
        raise InputError(
            "The chat template does not write a conversation as the prompt, then the answer.",
            next="Its generation prompt must begin an answer; use another template, or set its `variables`.",
        )
    lead, _, after = whole[len(asked) :].partition(_MARK)
    if any(text in lead for text in template.special if text):
        raise InputError(
            f"The chat template writes special tokens between its generation prompt and an answer: {lead!r}. In an "
            "answer they are text, so a model would learn their letters.",
            next="Set its `variables` so that the generation prompt holds them, or use a template such as chatml.",
        )
    ends = [place + len(text) for text in template.special if text and (place := after.find(text)) >= 0]
    return lead, after[: min(ends)] if ends else after.rstrip()


CHAT = ChatTemplate()
"""The chat template of the tokenizer in use."""
