"""Operators that look up rows by keys, or add up rows that are looked up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..draw import Draw
from . import Generator
from .parts import file, scale_of


def _hashtable_lookup(d: Draw, dtype: Any) -> bytes:
    """Keys in order, as the kernel wants them; about half of those wanted are there."""
    count, rest, given = d.r.randint(1, 8), d.shape(d.r.randint(0, 3)), scale_of(d, dtype)
    keys = d.constant(np.array(sorted(d.r.sample(range(-5, 11), count)), np.int32))
    wanted = d.input((d.r.randint(1, 9),), np.int32, None, (-6, 11))
    rows = d.input((count, *rest), dtype, given)
    found = d.m.tensors[wanted]["shape"][0]
    results = [d.tensor((found, *rest), dtype, given), d.tensor((found,), np.uint8, None)]
    return file(d, "HASHTABLE_LOOKUP", [wanted, keys, rows], results)


def _embedding_lookup_sparse(d: Draw, dtype: Any) -> bytes:
    """Places in order, as the kernel wants them; weights above 0, so that no mean is divided by about nothing."""
    lead, rows, rest = d.shape(d.r.randint(1, 2), 4), d.r.randint(1, 6), d.shape(d.r.randint(1, 2))
    whole = [(*at, k) for at in np.ndindex(*lead) for k in range(3)]
    places = sorted(d.r.sample(whole, d.r.randint(1, len(whole))))
    inputs = [d.input((len(places),), np.int32, None, (0, rows - 1)), d.constant(np.array(places, np.int32))]
    inputs.append(d.constant(np.array((*lead, 3), np.int32)))
    inputs += [d.input((len(places),), np.float32, None, (0.25, 2)), d.input((rows, *rest), dtype, None, "finite")]
    options = ("EmbeddingLookupSparseOptions", {"Combiner": d.r.randrange(3)})
    return file(d, "EMBEDDING_LOOKUP_SPARSE", inputs, [d.tensor((*lead, *rest), np.float32, None)], options)


GENERATORS: Mapping[str, Generator] = {
    "EMBEDDING_LOOKUP_SPARSE": _embedding_lookup_sparse,
    "HASHTABLE_LOOKUP": _hashtable_lookup,
}
"""What draws each of them."""
