"""Files that were taken for something else: what they are by their first bytes, and what helps."""

from __future__ import annotations

HEAD = 512
"""Bytes that are looked at."""


def cure_as_network(head: bytes) -> str:
    """What to do with a file that begins so, and is no network."""
    if _is_torch(head):
        return "it is a file of PyTorch: netc.from_torch reads modules in Python, torch.onnx.export writes ONNX files"
    if head[5:9] == b"\0\0\0{":
        return "it holds weights: name a network, and give them by --weights"
    if head.startswith(b"\x89HDF"):
        return "it is an HDF5 file, as Keras writes them: export the network as a TFLite or ONNX file"
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        return "it is a picture: name a network, and give it by --image"
    return "a network is a .net file, a graph in text form, an ONNX or a TFLite file"


def cure_as_weights(head: bytes) -> str:
    """What to do with a file that begins so, and holds no weights that netc reads."""
    if _is_torch(head):
        return "it is a file of PyTorch: safetensors.torch.save_file(module.state_dict(), FILE) writes one that is read"
    return "weights are read from .safetensors files only"


def _is_torch(head: bytes) -> bool:
    """An archive whose members lie in a folder and aren't NumPy's arrays, or the pickle of an old file."""
    member = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    is_archive = head.startswith(b"PK\3\4") and b"/" in member and not member.endswith(b".npy")
    return is_archive or head.startswith(b"\x80\2\x8a\nl\xfc\x9c")
