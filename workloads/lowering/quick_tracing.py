"""Speeds up lowering: work that torch and executorch repeat is done once or not at all.

It took a third of a small model's export, and none of it reaches the program.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from unittest import mock

import torch._export.utils
from executorch.backends.xnnpack.partition.graphs import bilinear_2d, sdpa


@contextlib.contextmanager
def quick_tracing() -> Iterator[None]:
    """Skips what our models don't need in exports within the block. Operators must be registered before it.

    torch asks its dispatcher for all composite operators at each of a thousand decompositions, as one may have been
    registered meanwhile. XNNPACK traces two patterns to look for in each part: image enlargement, and an attention
    with a matrix as its mask (ours has a mask for each text, and is delegated as it is written).
    """
    once = functools.cache(torch._export.utils._materialize_cpp_cia_ops)
    with (
        mock.patch.object(torch._export.utils, "_materialize_cpp_cia_ops", once),
        mock.patch.object(bilinear_2d, "get_graphs_dict", dict),
        mock.patch.object(sdpa, "get_graphs", list),
    ):
        yield
