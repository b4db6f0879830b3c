"""What is done to opened sources: they are checked, kept in memory, narrowed to some classes."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import PIL
from numpy.typing import NDArray

from ...compiler.errors import NetcError
from ...compiler.spec import Spec, Value
from ..cache import ObjectCache
from .kinds import SourceKind
from .source import ArchiveReader, ArraySource, FileSource, Source


def checked(kind: SourceKind, source: Source) -> Source:
    """A source whose samples are what their kind says; raises `NetcError` if they aren't."""
    if isinstance(source, ArraySource) and kind.sample is not None and len(source):
        sample, _ = next(iter(source))
        if not kind.sample.fits(sample):
            raise _unlike(kind, f"samples of {source.name} are", sample)
    return source


def in_memory(kind: SourceKind, source: FileSource) -> ArraySource:
    """All pictures decoded: those of an archive take a while, so they are kept in the cache of compiled objects."""
    assert kind.sample is not None, "what is kept in memory has a known size"
    shape = tuple(size for size in kind.sample.shape if size is not None)
    key = _cache_key(source)
    store = ObjectCache.default()
    kept = np.frombuffer((store.get(key) if key else None) or b"", np.uint8)
    if kept.size == len(source) * int(np.prod(shape)):
        values = kept.reshape(len(source), *shape)
    else:
        values = _decoded(kind, source)
        if key:
            store.put(key, values.tobytes())
    return ArraySource(source.name, source.classes, source.labels, values, source.names, notes=source.notes)


def _decoded(kind: SourceKind, source: FileSource) -> NDArray[np.uint8]:
    pictures = [picture for picture, _ in source]
    for key, picture in zip(source.keys, pictures, strict=True):
        if kind.sample is not None and not kind.sample.fits(picture):
            raise _unlike(kind, f"{key} of {source.name} is", picture)
    return np.stack(pictures)


def _cache_key(source: FileSource) -> str | None:
    """What decides the pixels of pictures in an archive; None for others."""
    if not isinstance(source.reader, ArchiveReader):
        return None
    path = source.reader.path.resolve()
    state = path.stat()
    decides = (list(source.keys), str(path), state.st_size, state.st_mtime_ns, PIL.__version__)
    return f"{source.name}-{hashlib.sha256(repr(decides).encode()).hexdigest()}"


def _unlike(kind: SourceKind, whose: str, sample: NDArray[np.uint8]) -> NetcError:
    return NetcError(f"{whose} {sample.dtype} {list(sample.shape)}, but this data set has {kind.sample}")


def narrowed(source: Source, spec: Spec, classes: Value) -> Source:
    """The samples of some classes, which are numbered from 0; raises `NetcError` unless these are two or more."""
    given = classes if isinstance(classes, tuple) else (classes,)
    count = source.classes or 0
    chosen = [c for c in given if isinstance(c, int) and not isinstance(c, bool) and 0 <= c < count]
    if len(chosen) < max(2, len(given)) or len(set(chosen)) < len(chosen):
        raise NetcError(f"`{spec}`: `classes` must be two or more different ones of 0 to {count - 1}")
    numbers = np.full(count, -1, np.int32)
    numbers[chosen] = np.arange(len(chosen))
    labels = numbers[source.labels]
    kept = np.flatnonzero(labels >= 0).tolist()
    names = tuple(source.names[c] for c in chosen) if source.names else None
    if isinstance(source, ArraySource):
        values = source.values[kept]
        return replace(source, classes=len(chosen), names=names, labels=labels[kept], values=values)
    keys = [source.keys[i] for i in kept]
    return replace(source, classes=len(chosen), names=names, labels=labels[kept], keys=keys)
