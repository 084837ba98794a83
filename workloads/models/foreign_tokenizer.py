"""The tokenizer of a Hugging Face folder's tokenizer.json, in its own process.

Such a file is a program for the `tokenizers` library: normalizers that grow text without limit, regular expressions
that take forever, states in which the library panics or aborts. None of this is visible in the file, so it is read and
used by a process with limited memory and processor time, whose death counts as an error of the file.

    python -m workloads.models.foreign_tokenizer SECONDS

is that process. From its standard input it reads the length of the file and the file, then orders, one JSON object per
line. To its standard output it writes answers, the first of them to the file itself: a line for each part, then one
without a part.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import tokenizers

from foundation.errors import UserError
from foundation.foreign_files import parse_json, read_regular
from foundation.text import printable
from workloads.models.tokenizer import LibraryTokenizer, Tokenizer, padding_id

#: Limits for a tokenizer.json; Gemma 3's, the largest common one, has 33 MB, 0.26 million tokens and 9 levels.
MOST_BYTES = 64 << 20
MOST_VALUES = 4_000_000
MOST_TOKENS = 1_000_000
DEEPEST = 16

#: Limits for the process: processor seconds, bytes of text for each additional second, and memory. One like Gemma 3's
#: takes 2 s and 370 MiB, and 0.3 s for a million bytes.
SECONDS = 15
BYTES_PER_SECOND = 100_000
MEMORY_BYTES = 1 << 30
MOST_IDS_PER_BYTE = 16
"""A text that is only normalized and split into bytes becomes fewer."""
_CHUNK_BYTES = 1 << 16
"""The library keeps about 200 bytes per token until the ids of a chunk are written."""


@dataclass(frozen=True)
class ForeignTokenizer(Tokenizer):
    """A tokenizer in its own process. All methods raise `UserError` if that process fails."""

    process: TokenizerProcess

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        return [ids for chunk in self.process.ask({"texts": list(texts)}) for ids in chunk]

    def decode(self, ids: Sequence[int]) -> str:
        (text,) = self.process.ask({"decode": list(ids)})
        return str(text)

    def reachable_from(self, start: int) -> list[int]:
        (ids,) = self.process.ask({"reachable_from": start})
        return list(ids)


def load_tokenizer_json(path: Path, bos_id: int | None, eos_id: int | None, pad_id: int | None) -> Tokenizer:
    """Loads a tokenizer from Hugging Face's tokenizer.json, which also decides whether a start token is added.

    Raises `UserError` if the file is missing or is not a tokenizer.
    """
    try:
        data = read_regular(path, what="tokenizer.json", limit_bytes=MOST_BYTES)
        parse_json(data, most_values=MOST_VALUES, most_keys=MOST_TOKENS, deepest=DEEPEST)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: a model folder needs its tokenizer as tokenizer.json.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read as JSON ({error}): copy it again from the model's origin.") from error
    process = TokenizerProcess(path, data)
    adds_bos = bos_id is not None and process.first_id == bos_id
    return ForeignTokenizer(bos_id, eos_id, padding_id(pad_id, eos_id), adds_bos, process)


class TokenizerProcess:
    """The process that has read a tokenizer.json; it ends when nothing refers to it any more."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, str(SECONDS)],
            cwd=Path(__file__).parents[2],  # the code that is running here, wherever that is
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches only us, and we end it
        )
        self._orders, self._answers = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        weakref.finalize(self, _end, self._process)
        (self.first_id,) = self._ask(b"%d\n" % len(data) + data, "is not a tokenizer file")

    def ask(self, order: Mapping[str, Any]) -> list[Any]:
        """Returns the parts of the answer."""
        with self._lock:
            return self._ask(json.dumps(order).encode() + b"\n", "can't be used")

    def _ask(self, order: bytes, failed: str) -> list[Any]:
        with contextlib.suppress(OSError):  # the reason is in the answer, or in how the process ended
            self._orders.write(order)
            self._orders.flush()
        parts: list[Any] = []
        while True:
            line = self._answers.readline()
            answer = json.loads(line) if line.endswith(b"\n") else {"error": _reason(self._process.wait())}
            if "error" in answer:
                reason = printable(answer["error"], 200)
                raise UserError(f"{self._path} {failed} ({reason}): copy it again from the model's origin.")
            if not answer:
                return parts
            parts.append(answer["part"])


def _reason(code: int) -> str:
    """Returns why the process ended with `code`."""
    if code == -signal.SIGXCPU:
        return f"it takes more than {SECONDS} s of processor time, plus 1 s for each {BYTES_PER_SECOND} bytes of text"
    if code == -signal.SIGABRT:
        return f"the tokenizers library aborted; it may use up to {MEMORY_BYTES >> 20} MiB of memory"
    return f"the process that reads it ended with {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # an order that it never read
            cast(BinaryIO, stream).close()


def main() -> None:
    """Answers orders until there are no more, or one fails."""
    orders = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_DATA, MEMORY_BYTES)
    seconds, total = int(sys.argv[1]), 0
    _lower(resource.RLIMIT_CPU, seconds)
    try:
        tokenizer = _read(orders.read(int(orders.readline())))
        _answer(answers, [next(iter(tokenizer.backend.encode("", add_special_tokens=True).ids), None)])
        for line in orders:
            total += len(line)
            _lower(resource.RLIMIT_CPU, seconds + total // BYTES_PER_SECOND)
            _answer(answers, _carry_out(tokenizer, json.loads(line)))
    except BaseException as error:  # noqa: BLE001 - the library raises bare ones, and panics don't derive from Exception
        text = str(error) or f"it needs more than {MEMORY_BYTES >> 20} MiB of memory"
        _write(answers, {"error": text[:2000]})


def _read(data: bytes) -> LibraryTokenizer:
    backend = tokenizers.Tokenizer.from_str(data.decode())
    if getattr(backend.model, "dropout", None) is not None:
        backend.model.dropout = None  # ids of a text would be random
    return LibraryTokenizer(None, None, 0, adds_bos=False, backend=backend)


def _carry_out(tokenizer: LibraryTokenizer, order: Mapping[str, Any]) -> Iterator[Any]:
    """Yields the parts of the answer."""
    if "decode" in order:
        yield tokenizer.decode(order["decode"])
    elif "reachable_from" in order:
        yield tokenizer.reachable_from(order["reachable_from"])
    else:
        yield from map(partial(_encode, tokenizer), _chunks(order["texts"]))


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    chunk, size = [], 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if size > _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    yield chunk


def _encode(tokenizer: LibraryTokenizer, texts: list[str]) -> list[list[int]]:
    found = tokenizer.encode_many(texts)
    for text, ids in zip(texts, found, strict=True):
        if len(ids) > MOST_IDS_PER_BYTE * len(text.encode()) + 1000:
            raise ValueError(f"it makes {len(ids)} tokens of {len(text)} characters")
    return found


def _answer(answers: BinaryIO, parts: Iterable[Any]) -> None:
    for part in parts:
        _write(answers, {"part": part})
    _write(answers, {})


def _write(answers: BinaryIO, line: Mapping[str, Any]) -> None:
    answers.write(json.dumps(line).encode() + b"\n")
    answers.flush()


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
