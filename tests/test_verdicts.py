"""A verdict per row: what is damaged is found, and what is only translated is left in peace."""

from __future__ import annotations

import html
import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kullm.translators.verdicts import Verdict, verdicts

SHARED = Path(__file__).parents[2] / "shared"


@dataclass(frozen=True, slots=True)
class Real:
    """A real text and what DeepL made of it; `number` is that of its task."""

    number: int
    field: str
    source: str
    target: str


def real_pairs(shared: Path) -> list[Real]:
    """The 460 instructions and inputs of the evaluation set that are not empty, English and Korean."""

    def texts(path: Path) -> dict[tuple[int, str], str]:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        numbered = [(int(row["id"].rpartition("_")[2]), row) for row in rows]
        found = {(number, "instruction"): row["instruction"] for number, row in numbered}
        return found | {(number, "input"): row["instances"][0]["input"] for number, row in numbered}

    english = texts(shared / "data" / "english" / "user_oriented_instructions.en.jsonl")
    korean = texts(shared / "data" / "korean" / "user_oriented_instructions_eval.ko.jsonl")
    return [Real(*key, text, korean[key]) for key, text in english.items() if text.strip() and korean[key].strip()]


def found(source: str, target: str, *, languages: tuple[str, str] = ("en", "ko")) -> list[Verdict]:
    return verdicts({"output": source}, {"output": target}, source=languages[0], target=languages[1])


# Damage: what a translator, a parser or a careless script does. None where a text cannot be damaged that way.

Damage = Callable[[Real, random.Random, list[Real]], str | None]
_SENTENCES = re.compile(r"(?<=[.!?])\s+")


def copy(pair: Real, _: random.Random, __: list[Real]) -> str | None:
    return None if pair.source == pair.target else pair.source


def copy_of_40(pair: Real, _: random.Random, __: list[Real]) -> str | None:
    return None if pair.source == pair.target or len(pair.source) < 40 else pair.source


def loop(pair: Real, dice: random.Random, _: list[Real]) -> str | None:
    words = pair.target.split(" ")
    return " ".join(words + words[-dice.randint(1, 4) :] * dice.randint(6, 20)) if len(words) > 4 else None


def line_breaks_lost(pair: Real, _: random.Random, __: list[Real]) -> str | None:
    return re.sub(r"\s*\n\s*", " ", pair.target.strip()) if "\n" in pair.target.strip() else None


def entities(pair: Real, _: random.Random, __: list[Real]) -> str | None:
    written = html.escape(pair.target)
    return written if written != pair.target else None


def half_truncated(pair: Real, _: random.Random, __: list[Real]) -> str | None:
    return pair.target[: len(pair.target) // 2] if len(pair.target) >= 20 else None


def number_plus_1(pair: Real, dice: random.Random, _: list[Real]) -> str | None:
    places = [match for match in re.finditer(r"\d{1,9}", pair.target) if match[0] in re.findall(r"\d+", pair.source)]
    if not places:
        return None
    place = dice.choice(places)
    return pair.target[: place.start()] + str(int(place[0]) + 1) + pair.target[place.end() :]


def half_in_english(pair: Real, _: random.Random, __: list[Real]) -> str | None:
    words, said = pair.source.split(" "), pair.target.split(" ")
    if len(words) < 6 or pair.source == pair.target:
        return None
    return " ".join(said[: len(said) // 2] + words[len(words) // 2 :])


def wrong_row(pair: Real, dice: random.Random, pairs: list[Real]) -> str | None:
    return dice.choice([other for other in pairs if other.number != pair.number]).target


def wrong_row_same_field(pair: Real, dice: random.Random, pairs: list[Real]) -> str | None:
    return dice.choice([other for other in pairs if other.number != pair.number and other.field == pair.field]).target


def next_row(pair: Real, _: random.Random, pairs: list[Real]) -> str | None:
    later = [other for other in pairs if other.number > pair.number and other.field == pair.field]
    return later[0].target if later else None


def sentence_twice(pair: Real, dice: random.Random, _: list[Real]) -> str | None:
    parts = _SENTENCES.split(pair.target.strip())
    if len(parts) < 2:
        return None
    place = dice.randrange(len(parts))
    return " ".join([*parts[: place + 1], parts[place], *parts[place + 1 :]])


def last_sentence_dropped(pair: Real, _: random.Random, __: list[Real]) -> str | None:
    parts = _SENTENCES.split(pair.target.strip())
    return " ".join(parts[:-1]) if len(parts) > 1 else None


def list_item_dropped(pair: Real, dice: random.Random, _: list[Real]) -> str | None:
    lines = pair.target.split("\n")
    items = [n for n, line in enumerate(lines) if re.match(r"\s*(?:[-*•]|\d+[.)]|[A-D]\.)\s", line)]
    if len(items) < 2:
        return None
    del lines[dice.choice(items)]
    return "\n".join(lines)


def span_lost(pair: Real, dice: random.Random, _: list[Real]) -> str | None:
    spans = re.findall(r"https?://\S+|\S+@\S+\.\w+|`[^`]+`|\{\w+\}|\[[A-Za-z ]+\]|<\w+>|\b[a-z]+[A-Z]\w+|\w+\(\)", pair.source)
    kept = [span for span in spans if span in pair.target]
    return pair.target.replace(dice.choice(kept), "") if kept else None


def span_translated(pair: Real, dice: random.Random, pairs: list[Real]) -> str | None:
    spans = re.findall(r"https?://\S+|\S+@\S+\.\w+|`[^`]+`|\{\w+\}|\[[A-Za-z ]+\]|<\w+>|\b[a-z]+[A-Z]\w+|\w+\(\)", pair.source)
    kept = [span for span in spans if span in pair.target]
    return pair.target.replace(dice.choice(kept), "[이름]") if kept else None


def key_colon_lost(pair: Real, dice: random.Random, _: list[Real]) -> str | None:
    if not re.search(r"(?m)^[\w ]{1,25}: \S", pair.source):
        return None
    places = [match.end() - 1 for match in re.finditer(r"(?m)^[\w ]{1,15}:", pair.target)]
    if not places:
        return None
    place = dice.choice(places)
    return pair.target[:place] + pair.target[place + 1 :]


def mojibake(pair: Real, dice: random.Random, _: list[Real]) -> str | None:
    words = pair.target.split(" ")
    korean = [n for n, word in enumerate(words) if re.search("[가-힣]", word)]
    if not korean:
        return None
    place = dice.choice(korean)
    words[place] = words[place].encode().decode("latin-1" if dice.random() < 0.5 else "cp1252", errors="replace")
    return " ".join(words)


def mojibake_of_all(pair: Real, _: random.Random, __: list[Real]) -> str | None:
    return pair.target.encode().decode("cp949", errors="replace") if re.search("[가-힣]", pair.target) else None


TAILS = ("</s></s>", "<|endoftext|>", "\n\n### Response:", " Translation: " , "\n\n참고: 위 문장은 영어에서 번역되었습니다.", " I hope this helps!", " ]]}}", " ㅁㄴㅇㄹ#@!%&*")  # fmt: skip


def trailing_garbage(pair: Real, dice: random.Random, _: list[Real]) -> str | None:
    return pair.target + dice.choice(TAILS)


DAMAGES: tuple[Damage, ...] = (
    copy, copy_of_40, loop, line_breaks_lost, entities, half_truncated, number_plus_1, half_in_english,
    wrong_row, wrong_row_same_field, next_row, sentence_twice, last_sentence_dropped, list_item_dropped,
    span_lost, span_translated, key_colon_lost, mojibake, mojibake_of_all, trailing_garbage,
)  # fmt: skip


def measured(pairs: list[Real], damage: Damage, *, odd: bool | None = None) -> tuple[int, int, list[tuple[Real, str]]]:
    """How many texts the damage was put into, how many of them have a verdict, and those that have none."""
    dice = random.Random(0)
    tried, missed = 0, []
    for _ in range(3):
        for pair in pairs:
            broken = damage(pair, dice, pairs)
            if broken is None or (odd is not None and pair.number % 2 != odd):
                continue
            tried += 1
            if not found(pair.source, broken):
                missed.append((pair, broken))
    return tried, tried - len(missed), missed


def table(shared: Path) -> Iterator[str]:
    """The figures, a line each."""
    pairs = real_pairs(shared)
    flagged = [pair for pair in pairs if found(pair.source, pair.target)]
    yield f"{len(pairs)} real pairs, {len(flagged)} with a verdict: {[(p.number, p.field) for p in flagged]}"
    yield f"{'damage':24}{'texts':>7}{'even ids':>10}{'odd ids':>9}{'all':>7}"
    for damage in DAMAGES:
        counts = [measured(pairs, damage, odd=odd)[:2] for odd in (False, True, None)]
        shares = [hits / max(tried, 1) for tried, hits in counts]
        yield f"{damage.__name__:24}{counts[2][0] // 3:7}{shares[0]:10.3f}{shares[1]:9.3f}{shares[2]:7.3f}"


def main() -> None:
    for line in table(SHARED):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
