"""Files of models that claim more than they hold, or than any model has: one sentence, and nothing is built first."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import tokenizers

from foundation.errors import UserError
from workloads.models import gguf_header, huggingface
from workloads.models.gguf import load_gguf, read_gguf_config
from workloads.models.gguf_header import read_header
from workloads.models.huggingface import load_folder
from workloads.models.zoo import load_weights

WriteGguf = Callable[..., Path]
_U8, _U32, _STRING, _LIST = 0, 4, 8, 9


def _text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _header(tensors: int, *entries: bytes, keys: int | None = None, order: str = "<") -> bytes:
    return b"GGUF" + struct.pack(f"{order}IQQ", 3, tensors, len(entries) if keys is None else keys) + b"".join(entries)


def _list(kind: int, count: int, content: bytes = b"", name: bytes = b"a.list") -> bytes:
    return _text(name) + struct.pack("<IIQ", _LIST, kind, count) + content


_NESTED = struct.pack("<IQ", _LIST, 1) * 3000

HOSTILE = {
    "endless strings": (
        _header(0, _list(_STRING, 2**62)),
        "claims 4611686018427387904 elements of lists, but only 0 bytes",
    ),
    "lists in lists": (_header(0, _list(_LIST, 1, _NESTED)), "lists within lists"),
    "a million tensors": (_header(10**6), "claims 1000000 tensors, but only 0 bytes are left"),
    "tensors that fit": (_header(30_000) + bytes(24 * 30_000), "claims 30000 tensors, but the limit is 20000 more"),
    "endless keys": (_header(0, keys=2**63), "claims 9223372036854775808 keys"),
    "a large list of bytes": (
        _header(0, _list(_U8, 3_000_000, bytes(3_000_000))),
        "3000000 elements of lists, but the limit is 2000000",
    ),
    "many lists": (
        _header(0, *(_list(_U8, 600_000, bytes(600_000), name=b"list%d" % index) for index in range(4))),
        "claims 600000 elements of lists, but the limit is 200000 more",
    ),
    "a text beyond the end": (_header(0, _text(b"k") + struct.pack("<IQ", _STRING, 2**63)), "bytes are missing"),
    "an unknown type": (_header(0, _text(b"k") + struct.pack("<I", 77)), "unknown type 77"),
    "many dimensions": (
        _header(1, _text(b"t") + struct.pack("<I", 2**31) + bytes(64), keys=0),
        "2147483648 dimensions",
    ),
    "a tensor without end": (
        _header(1, _text(b"t") + struct.pack("<IQQIQ", 2, 2**32, 2**32, 0, 0), keys=0),
        r"its tensor t extends \d+ bytes beyond the end",
    ),
    "the other byte order": (_header(0, order=">"), "is stored big-endian"),
    "a type of the future": (
        _header(1, _text(b"t") + struct.pack("<IQIQ", 1, 1, 999, 0), keys=0),
        "999 is not a valid",
    ),
    "a key twice": (_header(0, *[_list(_U8, 0)] * 2), "the key 'a.list' is there twice"),
    "text that is none": (_header(0, _text(b"\xff") + struct.pack("<IB", _U8, 0)), "can't decode byte 0xff"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_gguf_file_that_claims_too_much_is_refused_in_one_sentence(tmp_path: Path, case: str) -> None:
    content, sentence = HOSTILE[case]
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(UserError, match=sentence) as caught:
        load_gguf("small", path)
    assert "\n" not in str(caught.value)


def test_a_header_of_many_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_header, "MOST_HEADER_BYTES", 1000)
    path = tmp_path / "model.gguf"
    path.write_bytes(_header(0, _text(b"k") + struct.pack("<I", _STRING) + _text(bytes(2000))))
    with pytest.raises(ValueError, match="its header exceeds 1000 bytes"):
        read_header(path)


@pytest.mark.parametrize("quantized", [None, gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.BF16])
def test_header_is_read_as_the_library_reads_it(
    write_gguf: WriteGguf, quantized: gguf.GGMLQuantizationType | None
) -> None:
    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_float64("a.double", 1e-300)
        writer.add_int8("a.negative", -3)
        writer.add_array("a.switches", [True, False])
        writer.add_array("a.floats", [0.5, 1.5])
        writer.add_string("a.text", "\N{SNOWMAN}")

    path = write_gguf(add, quantized=quantized)
    header, library = read_header(path), gguf.GGUFReader(path)
    theirs = {key: field.contents() for key, field in library.fields.items() if not key.startswith("GGUF.")}
    assert header.values == theirs
    assert [(one.name, one.type, one.offset) for one in header.tensors] == [
        (one.name, one.tensor_type, one.data_offset) for one in library.tensors
    ]
    for ours, other in zip(header.tensors, library.tensors, strict=True):
        assert ours.shape == tuple(reversed(other.shape.tolist()))
        assert np.array_equal(ours.read(), other.data)


def test_a_token_without_end_is_not_tried_at_every_cut(write_gguf: WriteGguf) -> None:
    def scored(writer: gguf.GGUFWriter) -> None:
        for key, value in (("model", "llama"), ("tokens", ["a" * 5000]), ("token_type", [1])):
            writer.kv_data[0].pop(f"tokenizer.ggml.{key}")
            add = writer.add_array if isinstance(value, list) else writer.add_string
            add(f"tokenizer.ggml.{key}", value)  # type: ignore[operator]
        writer.add_token_scores([0.0])

    with pytest.raises(UserError, match="a token has 5000 characters, but the limit is 256"):
        load_gguf("small", write_gguf(scored))


@pytest.mark.parametrize("architecture", ["llama", "smollm3"])
def test_layers_that_a_gguf_file_only_claims_are_refused_before_they_are_counted(
    write_gguf: WriteGguf, architecture: str
) -> None:
    """For a plan, too, which looks at the header alone; one architecture has a list of what each layer does."""
    path = write_gguf(lambda writer: writer.add_uint32(f"{architecture}.block_count", 2**32 - 1), (), architecture)
    for read in (read_gguf_config, lambda path: load_gguf("small", path)):
        with pytest.raises(UserError, match="has 30 tensors, too few for 4294967295 layers: get the complete model"):
            read(path)


def _rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


NUMBERS = {
    "endless width": ({"hidden_size": 10**400}, "has 401 digits, more than 64 bits can hold"),
    "endless depth": ({"num_hidden_layers": 10**400}, "has 401 digits"),
    "thousands of digits": ({"num_hidden_layers": "@"}, "number out of range"),
    "large width": ({"hidden_size": 2**60}, r"has shape \[512, 64\], but its configuration requires"),
    "negative width": ({"hidden_size": -64}, "hidden_size is -64"),
    "endless base": ({"rope_theta": 10**400}, "has 401 digits"),
    "true as base": ({"rope_theta": True}, "must be numbers, but they are True"),
    "list as base": ({"rope_theta": [1]}, "must be numbers"),
    "endless end token": ({"eos_token_id": 10**30}, "has 31 digits"),
    "negative end token": ({"eos_token_id": -5}, "eos_token_id is -5, which is not one of the 512 tokens"),
    "end token beyond": ({"eos_token_id": 512}, "eos_token_id is 512, which is not one of the 512 tokens"),
    "one of several beyond": ({"eos_token_id": [700, 2]}, "eos_token_id is 700"),
    "beginning beyond": ({"bos_token_id": 600}, "bos_token_id is 600"),
    "word as end token": ({"eos_token_id": "</s>"}, "eos_token_id is </s>, which is not one"),
    "true as end token": ({"eos_token_id": True}, "eos_token_id is True, which is not one"),
    "negative padding": ({"pad_token_id": -7}, "pad_token_id is -7"),
    "nested settings": ({"rope_scaling": [[[[]]]], "hidden_act": {"a": 1}}, "hidden_act is {'a': 1}"),
    "lists as kinds of layers": ({"model_type": "qwen3", "layer_types": [[1]] * 3}, "layer_types should name"),
    "wide heads, scaled": (
        {"head_dim": 2**60, "rope_scaling": {"type": "linear", "factor": 2.0}},
        f"heads of {2**60} values, more than 16384",
    ),
    "many keys": ({f"key{index}": 0 for index in range(20_000)}, "keys, more than 10000"),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_of_a_configuration_are_bounded(folder: Path, case: str) -> None:
    changes, sentence = NUMBERS[case]
    settings = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(settings).replace('"@"', "1" * 4400))
    with pytest.raises(UserError, match=sentence) as caught:
        load_folder("small", folder)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["default", "linear"])
def test_a_word_in_place_of_rotary_parameters(folder: Path, name: str) -> None:
    _rewrite(folder / "config.json", rope_parameters=name)
    if name == "default":
        assert load_folder("small", folder).config.rope_theta == 50_000.0
        return
    with pytest.raises(UserError, match="factor of its rotary positions must be a number"):
        load_folder("small", folder)


def test_minus_one_and_a_padding_beyond_the_vocabulary_are_fine(folder: Path) -> None:
    _rewrite(folder / "config.json", bos_token_id=-1, pad_token_id=512)
    tokenizer = load_folder("small", folder).tokenizer
    assert (tokenizer.bos_id, tokenizer.pad_id) == (None, 2)


@pytest.mark.parametrize(
    ("claimed", "sentence"),
    [
        (2**63, "header of 9223372036854775808 bytes, but only"),
        (17 << 20, "header of 17825792 bytes, but the limit is 16777216"),
    ],
)
def test_a_header_of_safetensors_is_measured_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch, claimed: int, sentence: str
) -> None:
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", claimed))
        file.truncate(18 << 20)
    monkeypatch.setattr(huggingface, "safe_open", lambda *given, **named: pytest.fail("the library was asked"))
    with pytest.raises(UserError, match=sentence):
        load_folder("small", folder)


def test_a_tokenizer_nested_without_need_is_refused_before_it_is_tried(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library tries several readings at each level."""
    inner: dict[str, object] = {"type": "Lowercase"}
    for _ in range(40):
        inner = {"type": "Sequence", "normalizers": [inner]}
    _rewrite(folder / "tokenizer.json", normalizer=inner)
    monkeypatch.setattr(tokenizers, "Tokenizer", None)
    with pytest.raises(UserError, match="nested more than 16 levels deep"):
        load_folder("small", folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_pipe_in_a_folder_is_refused_without_waiting(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match=rf"{name} is a pipe, and .* must be a file"):
        load_folder("small", folder)


def test_a_pipe_or_a_device_is_no_gguf_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.gguf")
    for path, kind in ((tmp_path / "model.gguf", "a pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(UserError, match=f"is {kind}, and a GGUF file must be a file"):
            load_weights("small", path)
