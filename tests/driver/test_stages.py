"""Every stage of a small net as text, for a named processor so that it is the same on every machine."""

import re
from pathlib import Path

import pytest

from ..conftest import Golden
from .conftest import Call

NET = """\
block unit(x, filters) {
  return x |> conv@conv(filters, 3, bias = false) |> batch_norm@bn |> relu
}

net small(image: f32[N, 4, 4, 1], classes = 3) {
  x = unit@first(image, 8)
  x = x + unit@second(x, 8)
  return x |> max_pool(2) |> flatten |> dense@fc(classes)
}
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The net's file, by a path that is the same in every run."""
    monkeypatch.chdir(tmp_path)
    Path("small.net").write_text(NET, encoding="utf-8")
    return "small.net"


@pytest.mark.parametrize("stage", ["graph", "optimized", "loops"])
def test_stage(netc: Call, small: str, golden: Golden, stage: str) -> None:
    golden(netc("compile", small, "--emit", stage, "--cpu", "x86-64-v3", "--threads", "2").out)


def test_llvm_of_kernels(netc: Call, small: str, golden: Golden) -> None:
    """What is the network's own in the LLVM text: the order of its kernels, and one of them."""
    text = netc("compile", small, "--emit", "llvm", "--cpu", "x86-64-v3", "--threads", "2").out
    functions = {match[1]: match[0] for match in re.finditer(r'define [^@]*@"?([\w.]+).*?^}\n', text, re.M | re.S)}
    assert "netc_run" in functions
    golden(functions["netc.sequence"] + "\n" + functions["kernel.max_pool_0"])


def test_show(netc: Call, small: str, golden: Golden) -> None:
    golden(netc("show", small).out)


def test_show_for_tools(netc: Call, small: str, golden: Golden) -> None:
    golden(netc("show", small, "--json").out)


def test_summary(netc: Call, small: str, golden: Golden) -> None:
    """All but times, the size of the object, which is LLVM's affair, and the widths that follow from them."""
    text = netc("compile", small, "--cpu", "x86-64-v3", "--threads", "2").out
    text = re.sub(r"[\d.]+ m?s\b", "TIME", text)
    text = re.sub(r"[\d,]+ bytes, (compiled|added)", r"SIZE, \1", text)
    golden(re.sub("--+", "--", re.sub(" +", " ", text)))
