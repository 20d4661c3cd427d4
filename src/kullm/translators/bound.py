"""Tasks that live in their own language: they do not survive a translation of the row.

A row is bound when a faithful translation of all its fields makes the task void, already solved, or wrong. That is so
where the right answer turns on the words of the source language themselves, not on what they mean:

* their errors: a translator reads "he go" and writes a sentence without a fault (grammar, spelling, punctuation);
* their letters, sounds and number: first letters, case, alphabetical order, rhyme, syllables, "exactly five words";
* their form, class and history: tense, voice, plural, roots, parts of speech, etymology, acronyms, idioms, puns;
* verse whose form is counted or rhymed (haiku, limerick, sonnet);
* or where a text of the row must stand in a language that the task names ("translate into French").

Not bound, because they keep their sense in another language: definitions, synonyms and antonyms, paraphrase, tone and
register, metaphors and proverbs, statements turned into questions, poems and slogans of free form, limits such as "in
100 words", and programs that work on text.

The rules read English; rows in another source language need rules of their own. They look at words and structure and
know no vocabulary, so a task that does not say what it is about (a riddle that hangs on a double sense) passes unseen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache


@dataclass(frozen=True, slots=True)
class Bound:
    """Why a row is bound to its source language.

    `kind` is one of `KINDS`; `evidence` the words of the row that say so, verbatim; `fields` those that must stay in
    the source language for the task to keep its meaning.
    """

    kind: str
    evidence: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Rule:
    """Words that mark a kind, compiled when they are first needed: all at once they would slow the import.

    `cues`: the first letters (six at most) of words of which a matching text holds one; they spare the search.
    `cased`: a capital letter matters; else texts are matched in lower case, which is faster.
    `text`: the task works on a given text, which then has to stay as well; else only the answer has to.
    """

    kind: str
    cues: frozenset[str]
    pattern: str
    cased: bool
    text: bool


@cache
def _compiled(pattern: str, cased: bool) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE if cased else 0)


_PARTS = {
    "GAP": r"[^.?!\n]{0,60}?",
    "FIX": r"\b(?:correct|fix|edit|re-?write|check|revise|improve|amend|rectify|modify|identify|find|spot|detect"
    r"|locate|point out|remove|eliminate|evaluate|analy[sz]e|assess|review|suggest|change|repair|polish|mark"
    r"|adjust)(?:s|ing)?\b",
    "NAME": r"\b(?:identify|find|list|underline|circle|highlight|extract|locate|count|classify|categori[sz]e|label"
    r"|name|pick out|select|output|tag|annotate|group|sort|analy[sz]e|determine|point out|separate|divide|mark"
    r"|remove|delete|omit|eliminate|drop|avoid|recogni[sz]e|tell|what|which|how many)\b",
    "MAKE": r"\b(?:write|compose|create|generate|give|craft|pen|produce|construct|make|come up with|tell|think of"
    r"|share|invent|develop|draft|suggest|provide|turn|rewrite|convert|transform|do|record)\b",
    "TEXT": r"\b(?:sentences?|texts?|paragraphs?|passages?|phrases?|essays?|e-?mails?|statements?|transcri\w+"
    r"|excerpts?|lines?|quotes?|headlines?|clauses?)\b",
    "CLASS": r"\b(?:(?:proper |common |abstract |compound )?nouns?|verbs?|adjectives?|adverbs?|pronouns?"
    r"|prepositions?|conjunctions?|interjections?|determiners?|gerunds?|participles?|infinitives?|predicates?"
    r"|antecedents?|(?:in)?definite articles?)\b",
    "NUMBER": r"(?:[1-9]|1\d|20|two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty)",
    "THE": r"(?:(?:the|this|these|a|an|given|following|provided|below) )*",
    "TONGUE": r"(?:french|spanish|german|italian|portuguese|japanese|chinese|mandarin|cantonese|korean|russian"
    r"|arabic|hindi|urdu|bengali|latin|greek|dutch|swedish|norwegian|danish|finnish|polish|turkish|hebrew|thai"
    r"|vietnamese|indonesian|tagalog|swahili|esperanto|czech|hungarian|ukrainian|irish|gaelic|welsh|icelandic"
    r"|english)",
}
"""What several patterns share, written <GAP>; a gap stays within one sentence."""


def _rule(kind_and_cues: str, *patterns: str, text: bool = True) -> _Rule:
    kind, _, cues = kind_and_cues.partition(": ")
    pattern = "|".join(patterns)
    for name, part in _PARTS.items():
        pattern = pattern.replace(f"<{name}>", part)
    forms = {(cue.removesuffix(cut) + end)[:6] for cue in cues.split() for cut in ("", "e") for end in _ENDINGS}
    return _Rule(kind, frozenset(forms), pattern, "(?-i:" in pattern, text)


_ENDINGS = ("", "s", "es", "d", "ed", "ing", "ning", "y", "ly")

# fmt: off
_RULES = (
    # Another language. Before the others: "translate this haiku" is a translation.
    _rule("translation: translate translation transliterate language " + _PARTS["TONGUE"][3:-1].replace("|", " "),
        r"\btranslat(?:e|es|ing|ion)\b"
        r"(?!<GAP>\b(?:emojis?|boolean|formula|natural language|plain|simple|layman\S*|logic|equation|symbols?|tone"
        r"|style|casual|formal|informal)\b)"
        r"(?=<GAP>(?:<TEXT>|\b(?:words?|article|poem|song|story|saying|proverb|languages?|<TONGUE>)\b|[\"“]))"
        r"(?:<GAP>\b(?:in)?to (?:an? |the )?(?:<TONGUE>|\w+ language)\b|(?: <THE>\w+)?)",
        r"\b(?:in(?:to)?|to|from) "
        r"(?:(?!plain|simple|clear|everyday|basic|an? |the |learn|speak|study|teach|master )[a-z]+ )?<TONGUE>\b"
        r"(?=\s*(?:[.:;?!\"(]|(?:to|using|about|that|which)\b|$))",
        r"\b<TONGUE> (?:words?|sentences?|phrases?|texts?|equivalents?|translations?|terms? for|names? for"
        r"|expressions?|sayings?|spellings?|pronunciation)\b|\b(?:british|american) english\b",
        r"\b(?:in(?:to)?|to) (?:(?:a|an|any|some|two|three|another|other|different|foreign|second) )+languages?\b",
        r"\b(?:reading|ability|knowledge) (?:of|in) <TONGUE>\b",
        r"\b(?:identify|detect|determine|recogni[sz]e) the language\b|\btransliterat\w+|"
        r"\b(?:what|which) language is th(?:is|e)\b"),
    # What the answer is made of: sounds, letters, a number of words.
    _rule("rhyme: rhyme",
        r"\b(?:that|which|to|must|should|also|find) rhymes?\b|\brhym(?:es?|ing) with\b",
        r"\brhym(?:ing|ed) (?:words?|poems?|couplets?|lines?|pairs?|verses?|sentences?|phrases?|slogans?|story|song)\b",
        r"\brhym(?:e|ing) (?:schemes?|patterns?|used|for)\b",
        r"\b(?:in|using|with|given|contains?|includes?|type of) (?:an? |the )?(?:given )?rhymes?\b(?! or reason)",
        r"<MAKE> (?:(?:an?|two|three|some|\d+) )?(?!nursery )(?:\w+ )?rhymes?\b(?! or reason)", text=False),
    _rule("verse: haiku limerick sonnet tanka cinquain villanelle couplet acrostic anacrostic sestina iambic",
        r"(?:^|[.?!\n])(?![^.?!\n]{0,60}?\b(?:based on|about (?:this|the following)|explain\w*|describ\w+|what|who"
        r"|history|defin\w+|summar\w+|analy\w+|essay)\b)[^.?!\n]{0,80}?"
        r"\b(?:haikus?|limericks?|sonnets?|tanka|cinquain|villanelle|sestina|couplets?|(?:an)?acrostic)\b",
        r"\bin (?:a |the )?(?:haiku|limerick|sonnet|tanka|cinquain|acrostic) (?:form|format|style)\b"
        r"|\biambic \w+\b", text=False),
    _rule("sound: syllable pronounce pronunciation phonetic homophone homonym homograph alliteration onomatopoeia "
        "assonance tongue",
        r"\b(?:syllables?|homophones?|homonyms?|homographs?|alliterat\w+|onomatopoe\w+|assonance"
        r"|tongue[- ]twisters?)\b",
        r"\bphonetic(?:s|ally)?\b|\bpronunciations?\b(?! skills)"
        r"|\bhow (?:to|do|is|would|should)\b<GAP>\bpronounced?\b"),
    _rule("letters: alphabet alphabetize anagram palindrome pangram uppercase lowercase upper lower capital title "
        "camel camelcase caps cipher morse ascii pig crossword mnemonic vowel consonant initial letter character "
        "reverse backward unscramble decipher encode decode encrypt decrypt length descramble scrambled",
        r"\balphabeti\w+(?: order)?\b",
        r"\b(?:anagrams?|palindromes?|pangrams?|crossword clues?|mnemonics?|vowels?|consonants?|initials|decipher"
        r"|initial of each|the alphabet)\b",
        r"\b(?:upper|lower)[- ]?cased?\b|\b(?:title|camel) ?case\b|\ball[- ]caps\b",
        r"\b(?:in|to|into|with|using|all) capitals?(?: letters)?\b",
        r"\bcapitali[sz](?:e|ing)\b(?=<GAP>(?:<TEXT>|\b(?:words?|letters?|names?|titles?)\b))",
        r"\b(?:vigen\w+|caesar|substitution) cipher\b|\bmorse code\b|\bascii (?:code|value)s?\b|\bpig latin\b",
        r"\b(?:extra|every other|only the|with the|using the) letters?\b|\b(?:each|every) letter (?:of|in)\b",
        r"\bthe letters? [\"“'‘]?[a-z]\b|\b(?:\d+(?:st|nd|rd|th)|second|third) letter\b",
        r"\bletters? (?:of|in) the (?:word|given|name)\b",
        r"\b(?:encode|decode|encrypt|decrypt) (?:the|this) (?:\w+ )?(?:message|text|word|sentence|phrase|string)\b",
        r"\blength of the (?:\w+ )?(?:word|string|sentence|phrase)\b",
        r"\b(?:how many|number of|count(?: the)?|first|last|missing|same|following|these|\w+ common) "
        r"(?:letters?\b(?! of (?:recommend|applic|introd))(?= (?:in|of|to|from|as|is|are)\b|[.?]|$)"
        r"|characters (?:in|of)\b)",
        r"\b<NUMBER>[- ]letter (?:words?|names?)\b|\b<NUMBER> letters\b(?! (?:of|from|to))",
        r"\b(?:unscramble|re-?arrange|reverse|jumbled|scrambled|swap)\b<GAP>\bletters?\b",
        r"\b(?:un|de)scrambled?\b|\bscrambled words?\b|\breverse (?:the )?(?:word|string|characters|spelling)\b",
        r"\b(?:spell|write|spelled|written)\b<GAP>\bbackwards?\b"),
    _rule("letters: start begin beginning end",
        r"\b(?:start|begin|end)(?:s|n?ing)? (?:with|in) (?:the )?"
        r"(?:(?:same )?letters?\b|(?-i:[\"“‘']?[A-Z]\b[\"”’']?(?!\.?[ \d]*\w)))", text=False),
    _rule("word count: word",
        r"\b<NUMBER>[- ]word (?!problem|limit|answer|essay)(?:\w+ )?(?:sentences?|phrases?|stor(?:y|ies)|poems?|haiku"
        r"|slogans?|titles?|taglines?|headlines?|descriptions?|summar(?:y|ies)|mottos?|names?)\b",
        r"\bexactly \w+ words\b|\bsentence of <NUMBER> words\b|\bonly <NUMBER> words\b|\b\d to 1?\d words\b",
        r"\b(?:delete|remove) <NUMBER> (?:\w+ )?words\b|\bwith <NUMBER> words[.:]?$",
        r"\bhow many words (?:are )?(?:there )?in\b|\bnumber of (?:\w+ )?words (?:in|of)\b|\bcount (?:the )?words\b",
        r"\b(?:second|third|fourth|fifth|sixth|last|middle|\d+(?:st|nd|rd|th)) word (?:in|of|from)"
        r" <THE>(?:<TEXT>|\b(?:string|list|end|title|input)\b)"
        r"|\b(?:longest|shortest) word\b",
        r"\bwords? (?:that|which)\b<GAP>\b(?:frequently|most often)\b",
        r"\bmost (?:frequent|common)(?:ly used)? words?\b(?= (?:in|of) <THE><TEXT>|[.?]?$)"),
    _rule("word order: word order jumbled subject",
        r"\b(?:re-?arrang\w+|re-?order|arrange|put(?!<GAP>\binto an? )|shuffle)\b<GAP>\bwords\b"
        r"(?! (?:by\b|from (?:the )?\w+est\b))"
        r"(?=[^?!\n]{0,80}?\b(?:sentences?|phrases?|(?:correct|right|proper) order|sense|headline)\b)",
        r"\bjumbled (?:words|sentences?)\b|\bword order\b|\bsubject-verb-object order\b|\bswap the words\b",
        r"\border of (?:the |all )*(?:words|adjectives|adverbs|verbs|nouns)\b"),
    _rule("acronym: acronym abbreviate abbreviation stand initialism",
        r"\b(?:acronyms?|initialisms?|abbreviat(?:e|ions?))\b",
        r"\bwhat do(?:es)?\b[^?\n]{0,20}(?-i:[A-Z][\w.]*[A-Z]\b|[\"“‘'])[^?\n]{0,20}\bstands? for\b"),
    # Words of the language as such.
    _rule("etymology: etymology origin originate history root come derive",
        r"\betymolog\w+\b|\b(?:latin|greek) (?:roots?|origins?)\b",
        r"\b(?:origins?|history|roots?)(?: and \w+)? of <THE>(?:english )?(?:words?|phrase|idiom|expression)\b",
        r"\b(?:word|phrase|idiom|expression)\b<GAP>\b(?:originated?|come from|derived? from)\b"),
    _rule("vocabulary: word synonym",
        r"\bsynonyms\b<GAP>\bdiffer\b|\b(?:differences?|distinguish\w*|distinction)\b between <THE>(?:two )?words\b"),
    _rule("idiom: phrase expression idiom idiomatic phrasal slang",
        r"\b(?:meaning|explain|interpret|context|scenario|means?|what|us(?:es?|ing)|illustrat\w+)\b<GAP>"
        r"\b(?:phrase|expression)\b,? ?[\"“'‘](?:[^\s\"”]+ ){1,3}[^\s\"”]+[\"”'’]",
        r"\bidioms?\b|\bidiomatic (?:expression|phrase)s?\b|\bphrasal verbs?\b",
        r"\bslang (?:words?|terms?|phrases?|expressions?)\b|\b(?:common|teen\w*|internet|current) slangs?\b"),
    _rule("wordplay: pun wordplay word play portmanteau knock dad spoonerism double",
        r"\bpuns?\b|\bword-?play\b|\bplays? on words\b|\bportmanteaus?\b|\bspoonerisms?\b",
        r"\b(?:knock[- ]knock|dad) jokes?\b|\bdouble entendres?\b", text=False),
    # Faults that a translator mends by reading over them.
    _rule("spelling: spell misspell typo typographical",
        r"<FIX><GAP>(?<!my )(?<!your )\bspell(?:ed|ings?)\b(?! bee)",
        r"\bspell(?:ing|ed)? (?:errors?|mistakes?|checks?|correctly|correction)\b",
        r"\b(?:correct|proper|correctly) spell(?:ing|ed)\b|\bmisspel\w+\b|\btypos?\b|\btypographical\b",
        r"\bhow (?:do|to|is|would)\b<GAP>\bspell(?:ed)?\b"),
    _rule("grammar: wrong grammar grammatical syntax syntactic proofread proof ungrammatical error mistake correct fix "
        "modifier double conjunction fragment run agreement",
        r"\bproof-?read\b|\benglish grammar\b|\bwhat(?:'s| is) wrong with (?:the|this) (?:\w+ )?sentence\b",
        r"<FIX><GAP>(?<!my )(?<!your )\b(?:grammar|(?:un)?grammatical\w*|syntax|syntactic(?:al)?(?:ly)?)\b(?! school)",
        r"\b(?:grammar|grammatical|syntax|syntactic(?:al)?)\b<GAP>\b(?:errors?|mistakes?|issues?|corrections?)\b",
        r"(?:^|\b(?:whether|if) )(?:is |are )?(?:the|this|these|it|they)\b<GAP>\bgrammatical(?:ly (?:in)?correct)?\b",
        r"\b(?:more|new),? (?:gramm|synt)\w+ally correct\b|\b(?:using|with|in|has|have) (?:in)?correct grammar\b",
        r"\bgrammatical (?:construction|structure|function|categor\w+)\b|\bparse\b<GAP>\bgrammatically\b",
        r"<FIX>(?!<GAP>\b(?:scientific|factual|logical\w*|historical|math\w*|calculation|cod(?:e|ing)|data|fact)\b)"
        r"(?:<GAP>\b(?:errors?|mistakes?)\b(?=.{0,80}?<TEXT>)|<GAP><TEXT><GAP>\b(?:errors?|mistakes?)\b)",
        r"<TEXT>.{0,40}?\b(?:errors?|mistakes?)\b(?=.{0,40}?\b(?:correct|fix|provide)\b)",
        r"\bfix the (?:errors?|mistakes?)\b",
        r"\b(?:correct|fix) (?:the |this |these |following |given )+(?:\w+ )?"
        r"(?:sentences?|paragraphs?|phrases?|text|passage)\b",
        r"\bsentences? (?:is |are )?(?:structured|written|formed|worded) correctly\b",
        r"\b(?:misplaced|dangling) modifiers?\b|\bdouble negatives?\b|\bsubject-verb agreement\b",
        r"\b(?:appropriate|correct|coordinating|subordinating) conjunctions?\b",
        r"\bsentence fragments?\b|\brun-?on sentences?\b"),
    _rule("punctuation: punctuation punctuate comma semicolon semi colon apostrophe period hyphen capitalization",
        r"\b(?:add|adding|include|insert|place|put|omit\w*|remove|correct|fix|fixing|edit|missing|use|using|proper"
        r"|appropriate|supply|change|check|which|where)\b(?!<GAP>\b(?:separat\w+|delimit\w+|list of|columns?)\b)<GAP>"
        r"\b(?:punctuations?|commas?|semi-?colons?|apostrophes?|hyphens?|capitali[sz]ation|period (?:at|to|after))\b",
        r"\bpunctuate\b|\bpunctuation (?:errors?|mistakes?)\b|\bclauses?,? separated by a comma\b"),
    # Form and class of words.
    _rule("word form: tense tence past present future active passive gerund subjunctive conjugate verb form singular "
        "plural possessive contraction prefix suffix root compound comparative superlative noun adjective adverb "
        "lemmatize stem",
        r"\b(?:past|present|future|perfect|continuous|progressive|simple|verbs?|correct|same|different|what|which"
        r"|another|appropriate|the)(?: \w+)? ten[sc]es?\b(?! (?:situation|moment|atmosphere|relation|standoff|scene))",
        r"\b(?:past|present|future) (?:perfect|continuous|progressive|simple|participle)\b",
        r"\b(?:active|passive)[- ]voice\b|\bpassive (?:to|or) active\b|\bactive (?:to|or) passive\b",
        r"\bwith its gerund\b|\bgerund form\b|\bsubjunctive\b|\bconjugat\w+\b",
        r"\b(?:verb|noun|adjective|adverb) forms?\b|\bform of the (?:following )?(?:verb|word|noun)\b",
        r"\bverbs?\b<GAP>\bcorrect forms?\b|\bpossessive (?:form|noun)\b",
        r"\b(?:singular|plural)(?: possessive)?(?: forms?\b| nouns?\b| of\b)|\bplurals\b|\bplurali[sz]e",
        r"\b(?:in)?to (?:the |its |their )?(?:plural|singular)\b|\bfrom (?:singular|plural)\b",
        r"\bcontractions\b(?<!muscle contractions)(?<!labor contractions)(?! of)",
        r"\b(?:noun|verb|adjective|adverb) (?:of|from) the (?:\w+ )?(?:word|noun|verb|adjective|adverb)\b",
        r"\bwords?\b<GAP>\b(?:pre|suf)fix(?:es)?\b|\b(?:pre|suf)fix(?:es)?\b(?=<GAP>\bwords?\b|:? [\"“'‘-])",
        r"\broot words?\b|\bcompounds? (?:words?|nouns?|adjectives?|verbs?)\b",
        r"\b(?:comparative|superlative) (?:forms?|degree|adjective|adverb)s?\b",
        r"\b(?:in)?to (?:an?|its|the) (?:noun|verb|adjective|adverb)\b(?=[.:;?]|$)",
        r"\binto (?:noun|verb|adjective|adverb)s\b",
        r"\blemmati[sz]\w+|\bstem(?:ming)? (?:the )?(?:following )?words?\b"),
    _rule("analysis: noun verb adjective adverb pronoun preposition conjunction interjection determiner gerund "
        "participle infinitive predicate antecedent article",
        r"<NAME>(?<!a list)(?: [a-z]+){0,5}? <CLASS>(?!<GAP>\b(?:synonyms?|describ\w+|associated|for the|complete)\b)"
        r"(?=<GAP>(?:<TEXT>|\b(?:above|below|following|given|present|used)\b|[\"“]|:))",
        r"<TEXT>[^?!\n]{0,60}?(?:,|\band|\.) (?:then )?<NAME>(?: [a-z]+){0,5}? <CLASS>"
        r"(?!<GAP>\b(?:synonyms?|describ\w+)\b)",
        r"\b(?:identify|underline|circle|highlight|extract|locate|output) (?:the|all|any|each|every)"
        r"(?: [a-z]+){0,2}? <CLASS>|\b(?:start|begin)s? with an? <CLASS>",
        r"\b(?:insert|add|choose|supply|use)\b<GAP>\b(?:prepositions?|(?:correct|proper|missing) article)\b",
        r"\b(?:missing|resolve the|avoid (?:the use of )?an?) <CLASS>",
        r"\b(?:different|another) (?:type of )?(?:preposition|conjunction|article|pronoun)\b",
        r"\b(?:is|are|whether)\b<GAP>\ban? (?:noun|verb|adjective|adverb|preposition|pronoun|conjunction)\b"
        r"(?=[.?]| or\b|$)"),
    _rule("analysis: part pos subject object clause phrase word parse diagram component syntactic grammatical compound "
        "simple complex",
        r"\bparts?[- ]of[- ]speech\b|\bpos[- ]tags?\b|\bis\b<GAP>\ba (?:simple|compound|complex) sentence\b",
        r"<NAME><GAP>\bsubjects?\b[^.\n]{0,40}\b(?:verbs?|objects?|predicates?)\b|\b(?:in)?direct objects?\b",
        r"<NAME><GAP>\b(?:(?:main|(?:in)?dependent|subordinate|relative) clauses?|(?:prepositional|noun) phrases?)\b",
        r"\b(?:parse|diagram) <THE>sentences?\b|\b(?:syntactic|grammatical) analysis\b",
        r"\b(?:type|kind) of (?:phrase|clause|word(?: usage| is))\b|\bsentence into (?:its )?(?:components|parts)\b"),
    _rule("cloze: blank",
        r"\bblanks?\b.{0,60}?<CLASS>|<CLASS>.{0,40}?\bblanks?\b|\bblanks?\b.{0,60}?\bform of\b"),
)
# fmt: on

KINDS = tuple(dict.fromkeys(rule.kind for rule in _RULES))
"""The kinds, in the order in which they are looked for."""

_CUES = frozenset[str]().union(*(rule.cues for rule in _RULES))
_CUE = re.compile(r"\b[a-z]{3,6}")
_QUOTED = re.compile(r"\"[^\"\n]{3,}\"|“[^”\n]{3,}”")
_NO_INPUT = re.compile(r"\s*|\W{0,3}(?:no?\W?input|none|n/?a)\W{0,3}", re.IGNORECASE)
_ELSEWHERE = re.compile(
    r"\b(?:given|provided|following|this|the) (?:condition|style|guide|rule|criteri\w+|question|task)s?\b"
)
_CODE = re.compile(
    r"\b(?:python|java(?:script)?|c\+\+|ruby|php|bash|sql|html|css|regex|regular expression|algorithm|pseudo-?code"
    r"|(?:an?|the|this|some|following|given|correct) (?:\w+ )?(?:code|function|program|script|class|method|query|macro"
    r"|formula|app|plug-?in)|plug-?in|programming|pass(?:word|code|phrase)|user ?name|lines? of code)\b",
)
"""Programs that work on text, and keys: letters and faults mean something else there."""

_ANSWER_CUES = frozenset({"joke", "jokes", "senten", "edit", "rewrit", "improv", "modify", "revise", "reword"})
_EDIT = re.compile(r"\b(?:edit|rewrite|improve|modify|revise|reword)\b[^.:?!\n\"“]*", re.IGNORECASE)
_LITTLE = re.compile("an?|the|is|are|am|was|were|be|been|being|has|have|had|do|does|did|to|of|in|on|at|for|with|by")
_JOKE = re.compile(r"\bjokes?\b", re.IGNORECASE)
_PUNCHLINE = re.compile(
    r"\bwhat (?:do you (?:call|get)|did\b.{1,40}\bsay)|\bwhy (?:did|do|does|don't|was|are|can't)\b|knock,? knock"
)
_SORT = re.compile(r"\b(?:type|kind)s? of <THE>sentences?\b|\bsentence types?\b".replace("<THE>", _PARTS["THE"]), re.I)
_NAMED = re.compile(rf"\b{_PARTS['TONGUE']}\b|\b(?:foreign|second|another|different) language")
_BUILT = re.compile(r"\b(?:simple|compound|complex) sentence|\bfragment\b", re.IGNORECASE)


def bound(instruction: str, input: str = "", output: str = "") -> Bound | None:
    """What binds a row to English, its source language, or None where a translation keeps the task.

    Quoted text and the middle of a long instruction are taken for material, not for what is asked. The input is read
    where the instruction points at it for what is asked ("the given condition"), the output where only the answer
    tells (a pun, a sentence that was merely mended). Never raises.
    """
    given = "" if _NO_INPUT.fullmatch(input) else input
    asked, masked = _asked(instruction)
    low = _lower(masked)
    words = set(_CUE.findall(low))
    found = _match(asked, masked, low, words)
    if found is None and given and len(low) <= 200 and _ELSEWHERE.search(low):
        low = _lower(given[:200])
        found = _match(given, given[:200], low, set(_CUE.findall(low)))
    if found is not None:
        rule, evidence = found
        return Bound(rule.kind, evidence, _fields(rule, low, given))
    return None if words.isdisjoint(_ANSWER_CUES) else _by_answer(asked, masked, given, output)


def _asked(instruction: str) -> tuple[str, str]:
    """What may say what is asked, and the same with quoted text blotted out, character for character."""
    asked = instruction if len(instruction) <= 600 else _ends(instruction)
    if '"' not in asked and "“" not in asked:
        return asked, asked
    return asked, _QUOTED.sub(lambda quote: quote[0][0] + re.sub(r"\S", "·", quote[0][1:-1]) + quote[0][-1], asked)


def _ends(text: str) -> str:
    """The beginning and the end of a long text, in whole words."""
    return f"{text[:400].rpartition(' ')[0]}\n{text[-200:].partition(' ')[2]}"


def _lower(text: str) -> str:
    """`text` in lower case and of the same length, so that places in one are places in the other."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(c if len(c.lower()) > 1 else c.lower() for c in text)


def _match(text: str, masked: str, low: str, words: set[str]) -> tuple[_Rule, str] | None:
    """The first rule that matches, and the words of `text` that it matches."""
    cues = _CUES & words
    for rule in _RULES if cues else ():
        if cues.isdisjoint(rule.cues):
            continue
        if match := _compiled(rule.pattern, rule.cased).search(masked if rule.cased else low):
            return None if _CODE.search(low) else (rule, text[match.start() : match.end()].strip())
    return None


def _fields(rule: _Rule, low: str, given: str) -> tuple[str, ...]:
    """The answer, and the text that the task works on where that has to stay too."""
    keeps = rule.text
    if rule.kind == "translation":  # "into French" leaves the text free; "from English", "into English" do not
        keeps = bool(re.search(r"\b(?:from|english)\b", low)) or not _NAMED.search(low)
    if not keeps:
        return ("output",)
    if given:
        return ("input", "output")
    return ("instruction", "output") if re.search(r"[\"“:\n'‘]", low) else ("output",)


def _by_answer(asked: str, masked: str, given: str, output: str) -> Bound | None:
    """What only the answer tells: a joke on a double sense, a sentence that was classed by syntax or merely mended."""
    if (joke := _JOKE.search(masked)) and _PUNCHLINE.search(output.lower()):
        return Bound("wordplay", joke[0], ("output",))
    where = ("input", "output") if given else ("instruction", "output")
    if (sort := _SORT.search(masked)) and _BUILT.search(output):
        return Bound("analysis", sort[0], where)
    edit = _EDIT.search(masked)
    if edit and not _CODE.search(masked.lower()) and _mended(given or asked[edit.end() :], output):
        return Bound("grammar", asked[edit.start() : edit.end()].strip(), where)
    return None


def _mended(text: str, output: str) -> bool:
    """Whether the two differ by nothing but inflection, spelling and little words, as a corrected sentence does."""
    if not len(text) // 2 <= len(output) <= 2 * len(text) <= 1000 or ("?" in text) != ("?" in output):
        return False
    before, after = re.findall(r"[\w']+", text.lower()), re.findall(r"[\w']+", output.lower())
    if len(before) < 3 or abs(len(before) - len(after)) > 3 or len(set(before) ^ set(after)) > 8 or before == after:
        return False
    codes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    changes = [(before[a:b], after[c:d]) for tag, a, b, c, d in codes if tag != "equal"]
    return len(changes) <= 3 and all(_small(removed, added) for removed, added in changes)


def _small(removed: list[str], added: list[str]) -> bool:
    """Whether words gave way to others as in a correction: little words, or another form or spelling of each."""
    if all(map(_LITTLE.fullmatch, removed + added)):
        return True
    return len(removed) == len(added) and all(map(_alike, removed, added))


def _alike(old: str, new: str) -> bool:
    if old[0] != new[0] or old[0].isdigit() or ("n't" in old) != ("n't" in new):
        return False
    return SequenceMatcher(None, old, new).ratio() >= 0.6
