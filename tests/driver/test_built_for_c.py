"""Libraries of `netc build` in programs of C."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from netc.compiler.library.elf import Elf
from netc.compiler.library.interface import Status

from .conftest import Call
from .libraries import cc, needs_cc


@needs_cc
@pytest.mark.parametrize("options", [(), ("--embed-weights",), ("--weights-section", ".lower"), ("--threads", "2")])
def test_the_example_links_and_tests_the_library(
    netc: Call, tiny: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = netc("build", tiny, "-o", tmp_path / "out", *options)
    assert done.code == 0, done.err
    assert "drawn by seed 0" in done.err
    out = tmp_path / "out"
    cc(out, "example.c", "tiny_preprocess.c", "tiny.o", "-o", "example", "-lm", "-lpthread")
    printed = subprocess.run(["./example"], cwd=out, capture_output=True, text=True, check=True).stdout
    assert printed.startswith("the self-test gives the stored answer\n")
    cc(out, "-x", "c++", "-std=c++11", "-fsyntax-only", "tiny.h", warnings=False)
    names = {path.name for path in out.iterdir()} - {"example"}
    assert {"tiny.h", "tiny.o", "example.c", "CMakeLists.txt", "README.md", "tiny_preprocess.c"} <= names
    assert ("tiny.weights" in names) == (options in ((), ("--threads", "2")))
    elf = Elf.read((out / "tiny.o").read_bytes())
    assert ("--weights-section" in options) == any(section.name == ".lower" for section in elf.sections)
    if "--threads" not in options:
        assert set(elf.undefined) <= {"memcpy", "memset"}


@needs_cc
def test_two_networks_link_into_one_program(netc: Call, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for prefix in ("one", "two"):
        assert netc("build", tiny, "-o", out, "--prefix", prefix, "--embed-weights").code == 0
    (out / "main.c").write_text(
        '#include "one.h"\n#include "two.h"\n'
        "static ONE_ALIGNED uint8_t a[ONE_WORKSPACE_BYTES], b[ONE_SELFTEST_BYTES];\n"
        "int main(void) { return one_selftest(a, b) != ONE_OK || two_selftest(a, b) != TWO_OK; }\n"
    )
    cc(out, "main.c", "one.o", "two.o", "-o", "both")
    subprocess.run(["./both"], cwd=out, check=True)


NAMES = """
net {name}(Image: f32[2, 3], image: f32[2, 3], NULL: f32[2, 3], linux: f32[2, 3], class: f32[2, 3]) {{
  return add(add(add(Image, image), add(NULL, linux)), class)
}}
"""


@needs_cc
@pytest.mark.parametrize(("name", "prefix"), [("double", "double"), ("math", "math_net"), ("test", "test")])
def test_names_that_mean_something_to_compilers(netc: Call, name: str, prefix: str, tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text(NAMES.format(name=name))
    out = tmp_path / "out"
    assert netc("build", tmp_path / "a.net", "-o", out).code == 0
    cc(out, "-std=gnu99", "example.c", f"{prefix}.o", "-o", "example")
    assert "the self-test gives" in subprocess.run(["./example"], cwd=out, capture_output=True, text=True).stdout
    cc(out, "-x", "c++", "-std=c++11", "-Wpedantic", "-fsyntax-only", f"{prefix}.h", warnings=False)
    if shutil.which("cmake") and name == "test":
        subprocess.run(["cmake", "-B", "build"], cwd=out, check=True, capture_output=True)


REFUSALS = """
#include <stdio.h>
#include "net.h"
static NET_ALIGNED uint8_t workspace[NET_WORKSPACE_BYTES], buffers[NET_SELFTEST_BYTES + 64];
static NET_ALIGNED uint8_t weights[NET_WEIGHTS_BYTES];
static float image[NET_INPUT_IMAGE_SIZE], scores[NET_OUTPUT_OUTPUT0_SIZE];
int main(void) {
  const net_inputs inputs = {image};
  const net_outputs outputs = {scores};
  FILE *file = fopen("net.weights", "rb");
  if (file == NULL || fread(weights, 1, NET_WEIGHTS_BYTES, file) != NET_WEIGHTS_BYTES) return 1;
  printf("%d ", (int)net_bind(workspace, weights, NET_WEIGHTS_BYTES));
  printf("%d ", (int)net_run(workspace, &inputs, &outputs));
  printf("%d ", (int)net_selftest(workspace, buffers + 8));
  weights[NET_WEIGHTS_BYTES - 1] ^= 1;
  printf("%d ", (int)net_bind(workspace, weights, NET_WEIGHTS_BYTES));
  printf("%d", (int)net_run(workspace, &inputs, &outputs));
  return 0;
}
"""


@needs_cc
def test_weights_that_were_refused_are_not_used(netc: Call, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert netc("build", tiny, "-o", out, "--prefix", "net").code == 0
    (out / "main.c").write_text(REFUSALS)
    cc(out, "main.c", "net.o", "-o", "main")
    printed = subprocess.run(["./main"], cwd=out, capture_output=True, text=True, check=True).stdout
    assert [Status(int(word)) for word in printed.split()] == [
        *(Status.OK, Status.OK, Status.MISALIGNED, Status.DAMAGED_WEIGHTS, Status.NO_WEIGHTS),
    ]


STOPPED = """
#include <stdio.h>
#include "net.h"
static NET_ALIGNED uint8_t workspace[NET_WORKSPACE_BYTES];
static float image[NET_INPUT_IMAGE_SIZE], scores[NET_OUTPUT_OUTPUT0_SIZE];
int main(void) {
  const net_inputs inputs = {image};
  const net_outputs outputs = {scores};
  static net_context never, context;
  printf("%d ", (int)net_context_run(&never, &inputs, &outputs));
  net_context_stop(&never);
  printf("%d ", (int)net_context_start(&context, workspace, NET_MAX_THREADS + 1));
  printf("%d ", (int)net_context_run(&context, &inputs, &outputs));
  for (int32_t threads = 1; threads <= NET_MAX_THREADS; threads++) {
    printf("%d ", (int)net_context_start(&context, workspace, threads));
    printf("%d ", (int)net_context_run(&context, &inputs, &outputs));
    net_context_stop(&context);
    net_context_stop(&context);
    printf("%d ", (int)net_context_run(&context, &inputs, &outputs));
  }
  return 0;
}
"""


@needs_cc
def test_contexts_that_are_stopped_do_not_run(netc: Call, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert netc("build", tiny, "-o", out, "--prefix", "net", "--embed-weights", "--threads", "2").code == 0
    (out / "main.c").write_text(STOPPED)
    cc(out, "main.c", "net.o", "-o", "main", "-lpthread")
    printed = subprocess.run(["./main"], cwd=out, capture_output=True, text=True, check=True).stdout
    none = Status.NO_THREADS
    assert list(map(int, printed.split())) == [none, none, none, *([Status.OK, Status.OK, none] * 2)]
