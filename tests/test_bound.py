"""Tasks that are bound to their language are found, and others are left alone.

`labels/bound.json` holds judgments made by reading each row (ids and reasons, no text of the data). The parts of it:

* evaluation: all 252 user-oriented tasks;
* development and held out: 200 rows drawn at random and 60 with a word that has to do with language, of the first and
  of the last 2,500 rows of Alpaca. The first rules were written with the development part alone and then had, on the
  held-out part, a precision of .98 and a recall of .85; on the 252 tasks .93 and .57. Rules were mended afterwards;
* second and third development: 260 more rows with such a word from the last 2,500, whose errors were looked at too;
* blind: 130 more, labelled before the rules that stand now were run on them, and nothing was mended for them after:
  the part that says what to expect of rows with such a word.

`python -m tests.test_bound` prints precision and recall of each part with 95 % Wilson intervals.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kullm.translators import bound as module
from kullm.translators.bound import KINDS, Bound, bound

LABELS = Path(__file__).parent / "labels" / "bound.json"

THIS = ("input", "output")
INSIDE = ("instruction", "output")
ANSWER = ("output",)


# One promise for each kind, in sentences of our own


@pytest.mark.parametrize(
    ("kind", "instruction", "text", "evidence", "fields"),
    [
        ("grammar", "Correct the grammar of this sentence.", "Him like it.", "Correct the grammar", THIS),
        ("grammar", "Is this sentence grammatically correct?", "We was late.", "grammatically correct", THIS),
        ("grammar", "Proofread the paragraph.", "I has two cat.", "Proofread", THIS),
        ("grammar", "Find the mistakes in this letter's first sentence.", "Dear mom, I are fine.", "mistakes", THIS),
        ("grammar", 'Correct the following sentence: "They was here."', "", "Correct the following sentence", INSIDE),
        ("spelling", "Rewrite the text and fix the spelling.", "Teh sea", "fix the spelling", THIS),
        ("spelling", "Are there typos in this?", "A gret day", "typos", THIS),
        ("punctuation", "Add commas where they are needed.", "Salt pepper and oil", "Add commas", THIS),
        ("rhyme", "List five words that rhyme with moon.", "", "that rhyme", ANSWER),
        ("rhyme", "Write a rhyming poem about rain.", "", "rhyming poem", ANSWER),
        ("verse", "Write a haiku about snow.", "", "haiku", ANSWER),
        ("verse", "Compose a limerick on a man from Busan.", "", "limerick", ANSWER),
        ("sound", "How many syllables does the word have?", "umbrella", "syllables", THIS),
        ("sound", "Make up a tongue twister.", "", "tongue twister", ANSWER),
        ("letters", "Sort these words in alphabetical order.", "pear, fig", "alphabetical order", THIS),
        ("letters", "Name a fruit that starts with the letter M.", "", "starts with the letter", ANSWER),
        ("letters", "Find an anagram of the word.", "listen", "anagram", THIS),
        ("letters", "Write the sentence in all caps.", "hello there", "all caps", THIS),
        ("letters", "Unscramble this.", "tca", "Unscramble", THIS),
        ("word count", "How many words are there in the sentence?", "I came here.", "How many words", THIS),
        ("word count", "Write a six-word story.", "", "six-word story", ANSWER),
        ("word order", "Rearrange the words to make a sentence.", "is it cold", "Rearrange the words", THIS),
        ("acronym", "What does NATO stand for?", "", "NATO stand for", ANSWER),
        ("acronym", "Invent an acronym for a chess club.", "", "acronym", ANSWER),
        ("etymology", "Where does the word come from?", "salary", "word come from", THIS),
        ("etymology", "Explain the etymology of 'muscle'.", "", "etymology", INSIDE),
        ("idiom", 'What does the phrase "piece of cake" mean?', "", "piece of cake", INSIDE),
        ("wordplay", "Make a pun about bread.", "", "pun", ANSWER),
        ("vocabulary", "What is the difference between the words lie and lay?", "", "between the words", ANSWER),
        ("word form", "Put the sentence into the past tense.", "She goes.", "past tense", THIS),
        ("word form", "Change from active to passive voice.", "I ate it.", "passive", THIS),
        ("word form", "Give the plural of the noun.", "ox", "plural of", THIS),
        ("analysis", "Name the part of speech of each word.", "Birds sing.", "part of speech", THIS),
        ("analysis", "Underline the adverbs in the sentence.", "He ran fast.", "Underline the adverbs", THIS),
        ("cloze", "Fill in the blank with a preposition.", "He sat __ the chair.", "preposition", THIS),
        ("translation", "Translate this sentence into French.", "Good night.", "into French", ANSWER),
        ("translation", "Translate the sentence from English to Thai.", "Good night.", "from English to Thai", THIS),
        ("translation", "How do you say 'thanks' in Swahili?", "", "in Swahili", ANSWER),
        ("translation", 'Translate "I come from Busan" into Thai.', "", "into Thai", ANSWER),
        ("translation", "What is the Italian word for bread?", "", "Italian word", ANSWER),
    ],
)
def test_a_bound_task_is_found(kind: str, instruction: str, text: str, evidence: str, fields: tuple[str, ...]) -> None:
    found = bound(instruction, text)
    assert found is not None
    assert found.kind == kind
    assert evidence in found.evidence or found.evidence in evidence
    assert found.fields == fields


@pytest.mark.parametrize(
    "instruction",
    [
        "Write about the history of the grammar school.",
        "Write a story about a girl who wins a spelling bee.",
        "How are counterfeit notes made?",
        "There is no rhyme or reason to it. Explain why.",
        "Finish the nursery rhyme about the sheep.",
        "Discuss the pronounced effect of tides on estuaries.",
        "How can I improve my spelling?",
        "Give five tips to learn Spanish.",
        "Name a Spanish painter.",
        "Describe the French Revolution in 100 words.",
        "Explain it in plain English.",
        "Write a Python function that checks for a palindrome.",
        "Write a regular expression for words that start with the letter a.",
        "Create a password with one uppercase letter and two numbers.",
        "Check the code for syntax errors.",
        "Find the factual errors in this report on the budget.",
        "Separate the columns with a comma and keep a list of all names.",
        "What does the colour red stand for in this painting?",
        "Suggest an introduction to a cover letter.",
        "Write a letter of recommendation.",
        "Who had the last word in the debate?",
        "List the articles on the following topic.",
        "Generate a list of adjectives that describe the sea.",
        "Give a synonym for happy.",
        "Turn the statement into a question.",
        "Make the e-mail more formal.",
        "Translate the formula into plain words.",
        "Explain muscle contractions of the heart.",
        "The situation is tense: how should the manager react?",
        "How do companies capitalize on trends?",
        "What language is spoken in Brazil?",
        "Tell a story about a haunted library.",
        "",
    ],
)
def test_a_keyword_in_another_sense_is_no_alarm(instruction: str) -> None:
    assert bound(instruction) is None


# What is read, and what is not


def test_quoted_text_is_material_and_no_task() -> None:
    assert bound('Continue the story: "She hoped to correct the grammar of the pun in French."') is None


def test_the_middle_of_a_long_instruction_is_material() -> None:
    story = "They walked on along the river and spoke of the harvest. " * 12
    assert bound(f"Sum up this text. {story} He wrote a haiku about rhyming words. {story} Be brief.") is None
    assert bound(f"{story} {story} Now translate the text into German.") is not None


def test_the_input_is_read_where_the_instruction_points_at_it() -> None:
    found = bound("Answer the following question.", 'How do you say "cheese" in Dutch?')
    assert found == Bound("translation", "in Dutch", ANSWER)
    assert bound("Continue.", 'How do you say "cheese" in Dutch?') is None


def test_an_input_that_says_that_there_is_none_is_none() -> None:
    for text in ("", "<noinput>", "No input", "N/A", "none"):
        found = bound("Give three words that contain a vowel: any.", text)
        assert found is not None
        assert "input" not in found.fields


def test_a_sentence_that_was_merely_mended_tells_itself_by_its_answer() -> None:
    asked, before = "Edit the sentence to make it clearer.", "The cats was sleeping in house."
    assert bound(asked, before, "The cats were asleep.") is None
    found = bound(asked, before, "The cats were sleeping in the house.")
    assert found == Bound("grammar", "Edit the sentence to make it clearer", THIS)
    assert bound("Rewrite the sentence as its opposite.", "It was cold.", "It wasn't cold.") is None


def test_a_joke_tells_itself_by_its_punchline() -> None:
    assert bound("Tell me a joke.", "", "What do you call a fish without eyes? A fsh.") is not None
    assert bound("Tell me a joke.", "", "My neighbour bought a drum. We now take long walks.") is None


WORDS = """Translate rewrite the sentence into French verbs correct grammar error words that rhyme with “cat” fix
    spelling in alphabetical order 5 letters edit: noun . ? ! , İ ß ſ · a of and identify tense pun 'phrase' " code"""
words = st.sampled_from([*WORDS.split(), "\n"])
texts = st.lists(words, max_size=200).map(" ".join) | st.text(max_size=300)


@settings(max_examples=150, deadline=None)
@given(texts, texts, texts)
@example("İİİİİİ Correct the grammar.", "", "")
def test_evidence_is_verbatim_and_nothing_raises(instruction: str, text: str, output: str) -> None:
    found = bound(instruction, text, output)
    if found is not None:
        assert found.kind in KINDS
        assert found.evidence
        assert found.evidence in instruction or found.evidence in text
        assert found.fields in (THIS, INSIDE, ANSWER)


@pytest.mark.parametrize(
    "unit", ["correct the ", "identify a noun and ", "sentence, ", '"a" ', "in the ", "words that "]
)
def test_a_long_text_is_not_read_whole(unit: str) -> None:
    """A hundred such texts would take minutes if the work grew with their length."""
    for _ in range(100):
        bound(unit * 20_000, unit * 20_000, unit * 20_000)


# Against rows that were labelled by reading


def rows(shared: Path) -> dict[str, dict[str, tuple[str, str, str]]]:
    """The fields of every row, by file and id (the row's number where the file gives none)."""
    english = shared / "data" / "english"
    alpaca = json.loads((english / "alpaca_5000.json").read_text(encoding="utf-8"))
    lines = (english / "user_oriented_instructions.en.jsonl").read_text(encoding="utf-8").split("\n")
    tasks = [json.loads(line) for line in lines if line]
    return {
        "alpaca_5000.json": {str(n): (r["instruction"], r["input"], r["output"]) for n, r in enumerate(alpaca)},
        "user_oriented_instructions.en.jsonl": {
            task["id"]: (task["instruction"], task["instances"][0]["input"], task["instances"][0]["output"])
            for task in tasks
        },
    }


def judged(shared: Path) -> Iterator[tuple[str, str, dict[str, Any] | None, Bound | None]]:
    """Each labelled row: its part, its id, its label (None where it is free), and what is found."""
    known = rows(shared)
    for file, parts in json.loads(LABELS.read_text(encoding="utf-8")).items():
        for part, labels in parts.items():
            for id in [*labels["bound"], *map(str, labels["free"])]:
                yield part, id, labels["bound"].get(id), bound(*known[file][id])


def counts(shared: Path) -> dict[str, tuple[int, int, int, int]]:
    """Found rightly, found wrongly, missed, and left alone rightly, by part."""
    found: dict[str, list[int]] = {}
    for part, _, label, what in judged(shared):
        place = (0 if label else 1) if what else (2 if label else 3)
        found.setdefault(part, [0, 0, 0, 0])[place] += 1
    return {part: (n[0], n[1], n[2], n[3]) for part, n in found.items()}


def wilson(k: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of k of n (E. B. Wilson 1927)."""
    middle, half = (k + z * z / 2) / (n + z * z), z * math.sqrt(k * (n - k) / n + z * z / 4) / (n + z * z)
    return middle - half, middle + half


@pytest.mark.shared
def test_labelled_rows_are_found_with_the_stated_precision_and_recall(shared: Path) -> None:
    least = {  # precision and recall, just under what was measured
        "blind keyword": (0.95, 0.77),
        "evaluation": (0.95, 0.67),
        "held out random": (0.95, 0.95),
        "held out keyword": (0.95, 0.9),
        "development random": (0.95, 0.95),
        "development keyword": (0.95, 0.9),
        "second development": (0.95, 0.95),
        "third development": (0.95, 0.9),
    }
    measured = counts(shared)
    assert measured.keys() == least.keys()
    for part, (right, wrong, missed, _) in measured.items():
        assert right / (right + wrong) >= least[part][0], part
        assert right / (right + missed) >= least[part][1], part


@pytest.mark.shared
def test_the_kind_that_is_found_is_the_one_that_a_reader_gave(shared: Path) -> None:
    pairs = [(label["kind"], what.kind) for _, _, label, what in judged(shared) if label and what]
    assert sum(one == other for one, other in pairs) / len(pairs) >= 0.93


@pytest.mark.shared
def test_the_quick_look_spares_no_row_that_a_rule_would_find(shared: Path) -> None:
    for name, known in rows(shared).items():
        for id, (instruction, _, _) in list(known.items())[::4]:
            low = instruction[:400].lower()
            cues = set(module._CUE.findall(low))
            for rule in module._RULES:
                assert not module._compiled(rule.pattern, rule.cased).search(low) or cues & rule.cues, (
                    name,
                    id,
                    rule.kind,
                )


def main() -> None:
    shared = Path(__file__).parents[2] / "shared"
    for part, (right, wrong, missed, free) in counts(shared).items():
        precision, recall = (right, right + wrong), (right, right + missed)
        shown = [f"{k / n:.3f} ({wilson(k, n)[0]:.3f}-{wilson(k, n)[1]:.3f})" for k, n in (precision, recall)]
        rows = f"{right + missed} of {right + wrong + missed + free} bound"
        print(f"{part:20} {rows:18} precision {shown[0]}  recall {shown[1]}")
    for part, id, label, what in judged(shared):
        if (label is None) != (what is None):
            print("missed" if label else "false ", part, id, label["kind"] if label else what)


if __name__ == "__main__":
    main()
