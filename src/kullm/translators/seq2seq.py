"""Translation models on this machine, by transformers: NLLB, M2M100, MADLAD-400 and Marian.

They translate a line at a time, know no service and bill nothing; what they do wrong is to loop and to be cut.
"""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from kullm.errors import InputError, MissingExtra, UsageError
from kullm.models.loading import need_torch, quiet, resolved
from kullm.remote import Limits
from kullm.rows import Failure

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_TABLE = """
af=afr_Latn am=amh_Ethi ar=arb_Arab as=asm_Beng az=azj_Latn ba=bak_Cyrl be=bel_Cyrl bg=bul_Cyrl bm=bam_Latn
bn=ben_Beng bo=bod_Tibt bs=bos_Latn ca=cat_Latn cs=ces_Latn cy=cym_Latn da=dan_Latn de=deu_Latn el=ell_Grek
en=eng_Latn eo=epo_Latn es=spa_Latn et=est_Latn eu=eus_Latn fa=pes_Arab fi=fin_Latn fo=fao_Latn fr=fra_Latn
ga=gle_Latn gd=gla_Latn gl=glg_Latn gn=grn_Latn gu=guj_Gujr ha=hau_Latn he=heb_Hebr hi=hin_Deva hr=hrv_Latn
ht=hat_Latn hu=hun_Latn hy=hye_Armn id=ind_Latn ig=ibo_Latn is=isl_Latn it=ita_Latn ja=jpn_Jpan jv=jav_Latn
ka=kat_Geor ki=kik_Latn kk=kaz_Cyrl km=khm_Khmr kn=kan_Knda ko=kor_Hang ku=kmr_Latn ky=kir_Cyrl lb=ltz_Latn
lg=lug_Latn ln=lin_Latn lo=lao_Laoo lt=lit_Latn lv=lvs_Latn mg=plt_Latn mi=mri_Latn mk=mkd_Cyrl ml=mal_Mlym
mn=khk_Cyrl mr=mar_Deva ms=zsm_Latn mt=mlt_Latn my=mya_Mymr ne=npi_Deva nl=nld_Latn nn=nno_Latn no=nob_Latn
ny=nya_Latn oc=oci_Latn om=gaz_Latn or=ory_Orya pa=pan_Guru pl=pol_Latn ps=pbt_Arab pt=por_Latn qu=quy_Latn
rn=run_Latn ro=ron_Latn ru=rus_Cyrl rw=kin_Latn sa=san_Deva sd=snd_Arab sg=sag_Latn si=sin_Sinh sk=slk_Latn
sl=slv_Latn sm=smo_Latn sn=sna_Latn so=som_Latn sq=als_Latn sr=srp_Cyrl ss=ssw_Latn st=sot_Latn su=sun_Latn
sv=swe_Latn sw=swh_Latn ta=tam_Taml te=tel_Telu tg=tgk_Cyrl th=tha_Thai ti=tir_Ethi tk=tuk_Latn tl=tgl_Latn
tn=tsn_Latn tr=tur_Latn ts=tso_Latn tt=tat_Cyrl ug=uig_Arab uk=ukr_Cyrl ur=urd_Arab uz=uzn_Latn vi=vie_Latn
wo=wol_Latn xh=xho_Latn yi=ydd_Hebr yo=yor_Latn zh=zho_Hans zu=zul_Latn
"""
_FLORES = dict(pair.split("=") for pair in _TABLE.split())
"""ISO 639-1 codes and those of FLORES-200, which NLLB speaks; their first three letters are ISO 639-3, Marian's."""

_OTHER = {"he": ("iw",), "tl": ("fil",), "zh": ("cmn_Hans", "zho"), "no": ("nob", "nb"), "jv": ("jw",)}
"""Codes that some models use where others use the one of ISO 639-1."""

_TOKENS = {
    "NLLB": re.compile(r"([a-z]{3}_[A-Z][a-z]{3})"),
    "M2M100": re.compile(r"__([a-z]{2,3})__"),
    "MADLAD-400": re.compile(r"<2(\w+)>"),
    "Marian": re.compile(r">>(.+)<<"),
}
"""The token that names a language, by family."""

_TYPES = {
    "m2m_100": ("NLLB", "M2M100"),
    "nllb-moe": ("NLLB",),
    "t5": ("MADLAD-400",),
    "mt5": ("MADLAD-400",),
    "umt5": ("MADLAD-400",),
    "marian": ("Marian",),
}
"""The families that a model type of transformers may be; NLLB and M2M100 share one, and their tokens differ."""

_STRICTER = {"no_repeat_ngram_size": 4, "repetition_penalty": 1.2}
_LOOP = 8
"""Tokens that only say again what stands right before them: from so many on, an output is a loop."""

_CONTENT = (".json", ".safetensors", ".bin", ".model", ".spm", ".txt")

_Answer: TypeAlias = "tuple[str, str]"
"""A translated line, and what is wrong with it, or nothing."""


@dataclass(frozen=True)
class Seq2Seq:
    """Translates with a local model: `Seq2Seq("facebook/nllb-200-distilled-600M")`, or a folder.

    Text goes through line by line. A line of n tokens may become `ratio` times n tokens and `margin` more, n rounded
    up to a power of two so that the lines beside it change nothing. An output that does not end or that loops is tried
    once more against repetition, then it is a `Failure`. `batch` lines are translated together; `dtype` and `device`
    are those of `kullm.models.HuggingFace`. On hardware whose batched sums differ from single ones, so may close calls.

    Raises, at the first call, `InputError` for a model that is not to be had or of no known family and `UsageError`
    for a language that it does not know.
    """

    name: str
    beams: int = 4
    batch: int = 32
    ratio: float = 2.0
    margin: int = 16
    dtype: str = "auto"
    device: str = "auto"

    # ASCII, as these vocabularies lack rarer brackets, and what they lack comes back as nothing. A number between two
    # signs is copied like an address is; angle brackets are taken for markup and dropped, square ones for a citation
    # and moved, and underscores are how M2M100 writes languages. No text has it by itself.
    placeholder = "@{}@"

    @property
    def identity(self) -> str:
        """The name, or what a folder holds, with the settings that decide an output."""
        dtype = resolved(self.device, self.dtype)[1]
        return f"seq2seq/{self._origin} beams={self.beams} ratio={self.ratio} margin={self.margin} dtype={dtype}"

    @property
    def limits(self) -> Limits:
        return Limits(items=self.batch, deadline=None)

    def cost(self, text: str) -> float:
        """Nothing is billed."""
        return 0.0

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str | Failure]:
        """The translation of each text, its line breaks and the space around its lines as they were."""
        lines = dict.fromkeys(core for text in texts for _, core, _ in _lines(text) if core)
        done = self._translated(list(lines), source, target)
        return [_joined(text, done) for text in texts]

    def _translated(self, lines: list[str], source: str, target: str) -> dict[str, str | Failure]:
        rows, first = self._rows(lines, source, target) if lines else ({}, None)
        longest = getattr(self._loaded[0].config, "max_position_embeddings", None) if lines else None
        long = {line for line, row in rows.items() if longest and len(row) > longest}
        said = self._said({line: row for line, row in rows.items() if line not in long}, first, longest)
        bad = {line: rows[line] for line, (_, wrong) in said.items() if wrong}
        said |= self._said(bad, first, longest, **_STRICTER)
        done: dict[str, str | Failure] = {
            line: Failure("", "translate", f"the model's output {wrong}") if wrong else text
            for line, (text, wrong) in said.items()
        }
        too_long = Failure("", "translate", "a line is longer than the model reads", "Split it into sentences.")
        return done | dict.fromkeys(long, too_long)

    def _rows(self, lines: list[str], source: str, target: str) -> tuple[dict[str, list[int]], int | None]:
        """The token ids of each line, as the model's family wants them, and the id that its output must begin with."""
        _, tokenizer, family, known = self._loaded
        into = _code(target, known, self.name) if known or family != "Marian" else ""
        if family == "MADLAD-400":
            return dict(zip(lines, _ids(tokenizer, [f"<2{into}> {line}" for line in lines]), strict=True)), None
        before: list[str] = []
        if family == "Marian":
            _bilingual(tokenizer, source, target if not known else "")
            before = [f">>{into}<<"] if into else []
        else:
            form = "{}" if family == "NLLB" else "__{}__"
            before, into = [form.format(_code(source, known, self.name))], form.format(into)
        start = [_id(tokenizer, token) for token in before]
        bare = _ids(tokenizer, lines, add_special_tokens=False)
        end = [int(tokenizer.eos_token_id)]
        rows = {line: [*start, *row, *end] for line, row in zip(lines, bare, strict=True)}
        return rows, None if family == "Marian" else _id(tokenizer, into)

    def _said(
        self, rows: Mapping[str, list[int]], first: int | None, longest: int | None, **settings: Any
    ) -> dict[str, _Answer]:
        """The model's output for each line. Lines of one limit are generated together, the longest first."""

        def limit(line: str) -> int:
            size = max(16, 1 << (len(rows[line]) - 1).bit_length())
            return min(math.ceil(self.ratio * size) + self.margin, longest or 1 << 30)

        done: dict[str, _Answer] = {}
        ordered = sorted(rows, key=lambda line: -len(rows[line]))
        for most, group in groupby(ordered, key=limit):
            lines = list(group)
            for place in range(0, len(lines), self.batch):
                some = lines[place : place + self.batch]
                outputs = self._generated([rows[line] for line in some], most, first, settings)
                done |= {line: self._judged(new, rows[line], first) for line, new in zip(some, outputs, strict=True)}
        return done

    def _generated(
        self, rows: Sequence[list[int]], most: int, first: int | None, settings: Mapping[str, Any]
    ) -> list[list[int]]:
        """The new token ids for each row of a batch, padded on the right and masked."""
        import torch

        model, tokenizer, *_ = self._loaded
        width, pad = max(map(len, rows)), int(tokenizer.pad_token_id)
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
        with torch.inference_mode(), quiet():
            out = model.generate(  # type: ignore[operator]
                input_ids=ids,
                attention_mask=mask,
                num_beams=self.beams,
                do_sample=False,
                early_stopping=self.beams > 1,
                max_new_tokens=most,
                forced_bos_token_id=first,
                **settings,
            )
        return [list(map(int, new)) for new in out[:, 1:].tolist()]

    def _judged(self, new: list[int], row: Sequence[int], first: int | None) -> _Answer:
        """The text of an output, and what is wrong with it."""
        tokenizer = self._loaded[1]
        end = new.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in new else None
        said = new[0 if first is None else 1 : end]
        text = str(tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False)).strip()
        if loops(said, row):
            return text, "loops"
        if end is None:
            return text, "is truncated: it does not end"
        return text, "" if text else "is empty"

    @cached_property
    def _origin(self) -> str:
        folder = Path(self.name)
        if not folder.is_dir():
            return self.name
        digest = hashlib.sha256()
        for file in sorted(folder.iterdir()):
            if file.suffix in _CONTENT:
                with file.open("rb") as content:
                    digest.update(f"{file.name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()[:16]

    @cached_property
    def _loaded(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str, tuple[str, ...]]:
        """The model, its tokenizer, its family and the languages that its tokenizer names."""
        model, tokenizer = _load(self.name, *resolved(self.device, self.dtype))
        kind = str(model.config.model_type)
        names = {*tokenizer.get_vocab(), *getattr(tokenizer, "lang_token_to_id", {})}
        for family in _TYPES.get(kind, ()):
            found = (_TOKENS[family].fullmatch(token) for token in names)
            known = tuple(sorted(match[1] for match in found if match))
            if known or family == "Marian":
                return model, tokenizer, family, known
        raise InputError(
            f"{self.name!r} ({kind}) is no translation model of a known family.",
            next=f"Known are {', '.join(_TOKENS)}; a model that chats translates by Chat.",
        )


def loops(output: Sequence[int], source: Sequence[int]) -> bool:
    """Whether an output says something again and again, clearly more than its source does. Both are token ids."""
    again = _again(output)
    return again >= _LOOP and again > 2 * _again(source)


def _again(ids: Sequence[int]) -> int:
    """The most tokens in a row that only repeat, at least once in full, what stands right before them."""
    most = 0
    for period in range(1, min(len(ids) // 2, 64) + 1):
        run = 0
        for one, other in zip(ids, ids[period:], strict=False):
            run = run + 1 if one == other else 0
            if run >= period:
                most = max(most, run)
    return most


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    """Each line of a text: the space before it, its words, and the space and line break behind it."""
    for line in text.splitlines(keepends=True):
        core = line.strip()
        before, _, after = line.partition(core) if core else (line, "", "")
        yield before, core, after


def _joined(text: str, done: Mapping[str, str | Failure]) -> str | Failure:
    parts: list[str] = []
    for before, core, after in _lines(text):
        said = done[core] if core else ""
        if isinstance(said, Failure):
            return said
        parts += [before, said, after]
    return "".join(parts)


def _load(name: str, device: str, dtype: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A sequence-to-sequence model and its tokenizer, with nothing in its generation settings but its tokens."""
    need_torch(name)
    import torch
    import transformers
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    with quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
            model = AutoModelForSeq2SeqLM.from_pretrained(name, dtype=getattr(torch, dtype), device_map={"": device})
        except ImportError:
            raise MissingExtra("sentencepiece", "seq2seq") from None
        except (OSError, ValueError) as error:
            raise InputError(
                f"The translation model {name!r} is not to be had; tried a folder of that name, the local cache and "
                f"the hub: {str(error).splitlines()[0]}",
                next="Name a folder that holds a model, or check the name and the network.",
            ) from None
        model.train(False)
        # A model's own settings would win over the ones left out here; a forced end would hide that it was cut.
        settings: Any = transformers.GenerationConfig
        own: Any = model.generation_config
        kept = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id", "bad_words_ids")
        model.generation_config = settings(**{key: getattr(own, key, None) for key in kept})
    return model, tokenizer


def _ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], **settings: Any) -> list[list[int]]:
    with quiet():  # a text beyond the model's length is ours to refuse
        found: list[list[int]] = tokenizer(list(texts), **settings)["input_ids"]
    return found


def _id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    return int(tokenizer.convert_tokens_to_ids(token))  # type: ignore[arg-type]


def _names(language: str) -> list[str]:
    """What models call a language: its code as given, in FLORES-200, in ISO 639-3, and otherwise."""
    flores = _FLORES.get(language, "")
    return [name for name in (language, flores, flores[:3], *_OTHER.get(language, ())) if name]


def _code(language: str, known: Sequence[str], name: str) -> str:
    """The model's own code of a language."""
    for code in _names(language):
        if code in known:
            return code
    raise UsageError(f"{name} does not know the language {language!r}.", next=f"It knows: {', '.join(known)}.")


def _bilingual(tokenizer: PreTrainedTokenizerBase, source: str, target: str) -> None:
    """Raise where a Marian model's tokenizer says that it translates between other languages."""
    for side, language in (("source_lang", source), ("target_lang", target)):
        own = getattr(tokenizer, side, None)
        plain = isinstance(own, str) and own in {*_FLORES, *(code[:3] for code in _FLORES.values())}
        if language and plain and own not in _names(language):
            raise UsageError(f"The {side.partition('_')[0]} language of this model is {own!r}, not {language!r}.")
