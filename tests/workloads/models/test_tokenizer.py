"""Tokenizers: three families, against the libraries that define them."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from foundation.errors import UserError
from workloads.models import foreign_tokenizer
from workloads.models.config import LlamaConfig
from workloads.models.foreign_tokenizer import load_tokenizer_json
from workloads.models.tokenizer import LibraryTokenizer, Tokenizer, byte_level_tokenizer, padding_id, scored_bpe
from workloads.models.weights import within_vocabulary
from workloads.tasks.task import built_in_task

SMALL = byte_level_tokenizer()


@pytest.fixture(scope="module")
def pieces() -> sentencepiece.SentencePieceProcessor:
    """A SentencePiece model trained as Llama 2's was: BPE, byte fallback, split digits, a space put before the text."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(example.text for example in built_in_task().examples),
        model_writer=model,
        model_type="bpe",
        vocab_size=700,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


@pytest.fixture(scope="module")
def scored(pieces: sentencepiece.SentencePieceProcessor) -> Tokenizer:
    indices = range(pieces.get_piece_size())
    backend = scored_bpe(
        [pieces.id_to_piece(index) for index in indices], [pieces.get_score(index) for index in indices], unknown_id=0
    )
    return LibraryTokenizer(bos_id=1, eos_id=2, pad_id=0, adds_bos=True, backend=backend)


def test_scored_bpe_equals_sentencepiece(pieces: sentencepiece.SentencePieceProcessor, scored: Tokenizer) -> None:
    texts = [example.text for example in built_in_task().examples] + ["Unseen wørds, 日本!", "two  spaces", "1984"]
    for text in texts:
        assert scored.encode(text) == pieces.encode(text)
        assert scored.decode(pieces.encode(text)) == text


def test_without_the_space_before_it_a_text_is_that_after_a_character(
    pieces: sentencepiece.SentencePieceProcessor,
) -> None:
    """As Gemma's: what SentencePiece makes of a text after a line's end, which is a byte of its own."""
    indices = range(pieces.get_piece_size())
    backend = scored_bpe(
        [pieces.id_to_piece(index) for index in indices],
        [pieces.get_score(index) for index in indices],
        unknown_id=0,
        adds_space=False,
    )
    for text in ("great", " great", "It was  fine", "1984"):
        ids = backend.encode(text).ids
        assert ids == pieces.encode("\n" + text)[2:]
        assert backend.decode(ids) == text


@settings(deadline=None)
@given(st.text())
def test_byte_level_tokenizer_loses_nothing(text: str) -> None:
    assert SMALL.decode(SMALL.encode(text)) == text


@settings(deadline=None)
@given(st.lists(st.text(), max_size=5))
def test_texts_are_encoded_together_as_they_are_alone(texts: list[str]) -> None:
    assert SMALL.encode_many(texts) == [SMALL.encode(text) for text in texts]


def test_answers_and_prompt_are_single_tokens_of_the_built_in_tokenizer() -> None:
    assert [len(SMALL.encode(text)) for text in (" great", " terrible", " It was")] == [1, 1, 2]


def test_special_tokens_in_a_text_stay_text() -> None:
    ids = SMALL.encode("so <eos> so")
    assert SMALL.eos_id not in ids
    assert SMALL.decode(ids) == "so <eos> so"


def test_special_tokens_are_left_out_of_decoded_text() -> None:
    assert SMALL.decode([0, 0, 1, *SMALL.encode("good"), 2]) == "good"


@pytest.mark.parametrize("adds", [True, False])
def test_tokenizer_file_says_whether_sequences_begin_with_a_token(tmp_path: Path, adds: bool) -> None:
    from transformers import PreTrainedTokenizerFast  # takes a second

    backend = byte_level_tokenizer().backend
    if adds:
        backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    backend.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer_json(tmp_path / "tokenizer.json", bos_id=1, eos_id=2, pad_id=None)
    assert loaded.prefix == ([1] if adds else [])
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert [*loaded.prefix, *loaded.encode("A good film.")] == theirs.encode("A good film.")


def test_missing_tokenizer_file_says_what_a_folder_needs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs its tokenizer as tokenizer.json"):
        load_tokenizer_json(tmp_path / "tokenizer.json", None, None, None)


@pytest.mark.parametrize(("pad", "eos", "padding"), [(5, 2, 5), (None, 2, 2), (-1, 2, 2), (None, None, 0)])
def test_padding_falls_back_to_the_end_token(pad: int | None, eos: int | None, padding: int) -> None:
    assert padding_id(pad, eos) == padding


def test_a_special_token_beyond_the_vocabulary_is_fine_as_no_text_becomes_it(config: LlamaConfig) -> None:
    """As after `tokenizer.add_special_tokens({"pad_token": "[PAD]"})` without a larger embedding."""
    tokenizer = byte_level_tokenizer()
    size = tokenizer.vocab_size
    tokenizer.backend.add_special_tokens(["[PAD]"])
    grown = dataclasses.replace(tokenizer, pad_id=size)
    fitting = within_vocabulary(dataclasses.replace(config, vocab_size=size), grown, Path("model"))
    assert fitting.pad_id == fitting.eos_id == 2
    assert max(fitting.encode("so [PAD] so")) < size
    assert fitting.decode(fitting.encode("so [PAD] so")) == "so [PAD] so"


@pytest.mark.parametrize("way", ["a word that text matches whole", "the token before every text", "unknown words"])
def test_an_id_beyond_the_vocabulary_that_is_used_is_refused(config: LlamaConfig, way: str) -> None:
    tokenizer = byte_level_tokenizer()
    size = tokenizer.vocab_size
    if way.startswith("a word"):
        tokenizer.backend.add_tokens(["zebra"])
    elif way.startswith("the token"):
        tokenizer.backend.add_special_tokens(["[BOS]"])
        tokenizer = dataclasses.replace(tokenizer, bos_id=size)
    else:
        tokenizer.backend.add_special_tokens(["[UNK]"])
        tokenizer.backend.model.unk_token = "[UNK]"  # noqa: S105 no password
    with pytest.raises(UserError, match=rf"model: the tokenizer gives ids up to {size}, but the model has only {size}"):
        within_vocabulary(dataclasses.replace(config, vocab_size=size), tokenizer, Path("model"))


def _sequence(*normalizers: dict[str, object]) -> dict[str, object]:
    return {"normalizer": {"type": "Sequence", "normalizers": normalizers}}


def _replace(what: str, by: str, kind: str = "String") -> dict[str, object]:
    return {"type": "Replace", "pattern": {kind: what}, "content": by}


HOSTILE: dict[str, tuple[dict[str, object], str]] = {
    "a text that grows": (_sequence(*[_replace("a", "a" * 1000)] * 5), "can't be used .*1024 MiB of memory"),
    "a panic": (_sequence(_replace("", "a")), "can't be used .*index out of bounds"),
    "a panic of regular expressions": (_sequence(_replace("(a+)+$", "x", "Regex")), "can't be used .*retry-limit"),
    "an endless regular expression": (
        _sequence(_replace(r"(?<x>a\g<x>?b|a)+c", "x", "Regex")),
        "can't be used .*more than 1 s of processor time",
    ),
    "a template of nothing": (
        {"post_processor": {
            "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "no", "type_id": 0}}], "pair": [],
            "special_tokens": {},
        }},
        "is not a tokenizer file .*no entry found",
    ),
    "many tokens of one": (_sequence({"type": "Prepend", "prepend": "so " * 2000}), "makes [0-9]+ tokens of 61 char"),
    "unknown words": ({"model": {"type": "Unigram", "unk_id": None, "vocab": []}}, "can't be used .*unknown token"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_tokenizer_file_that_harms_its_reader_ends_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    change, sentence = HOSTILE[case]
    monkeypatch.setattr(foreign_tokenizer, "SECONDS", 1 if "endless" in case else foreign_tokenizer.SECONDS)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(SMALL.backend.to_str()) | change))
    with pytest.raises(UserError, match=sentence):
        load_tokenizer_json(path, None, None, None).encode("a" * (3000 if "endless" in case else 60) + "!")


def test_a_tokenizer_file_never_gives_a_text_random_ids(tmp_path: Path) -> None:
    document = json.loads(SMALL.backend.to_str())
    document["model"]["dropout"] = 0.9
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    loaded = load_tokenizer_json(tmp_path / "tokenizer.json", None, None, None)
    assert loaded.encode("It was great.") == SMALL.encode("It was great.")


def test_a_tokenizer_file_answers_as_the_library_does_to_many_texts(tmp_path: Path) -> None:
    SMALL.backend.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer_json(tmp_path / "tokenizer.json", None, None, None)
    texts = ["", "bad movie " * 9000, *(example.text for example in built_in_task().examples)] * 3
    assert loaded.encode_many(texts) == SMALL.encode_many(texts)
    assert sorted(loaded.reachable_from(300)) == sorted(SMALL.reachable_from(300))
    assert loaded.decode(SMALL.encode("so good")) == "so good"
    assert loaded.encode_many([]) == []
