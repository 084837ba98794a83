"""What torch and executorch do again and again while a part is lowered, done once or not at all.

A third of the time in which a small model is exported went into things of which nothing reaches the program.
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
    """Lets exports in the block go without what our models don't need. Operators must be registered before it.

    torch asks its dispatcher for all composite operators at each of a thousand decompositions, since one may have been
    registered meanwhile. XNNPACK traces two patterns, to look for them in each part: the enlargement of an image, and
    an attention whose mask is a matrix (ours has a mask for each text, and is delegated as it is written).
    """
    once = functools.cache(torch._export.utils._materialize_cpp_cia_ops)
    with (
        mock.patch.object(torch._export.utils, "_materialize_cpp_cia_ops", once),
        mock.patch.object(bilinear_2d, "get_graphs_dict", dict),
        mock.patch.object(sdpa, "get_graphs", list),
    ):
        yield
