"""This machine: its own code runs here, that of wider or other machines does not."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.targets.cpus import core_name
from netc.compiler.targets.target import DotProduct
from netc.runtime.host import available_cores, physical_memory, runs_here


def test_a_process_has_a_core() -> None:
    assert available_cores() >= 1


@pytest.mark.parametrize(
    ("cpu", "features", "name"),
    [
        ("rocketlake", {"avx512f": True, "avx512fp16": True, "sse4a": False}, "sapphirerapids"),
        ("rocketlake", {"avx512f": True, "avx512fp16": False}, "rocketlake"),
        ("graniterapids", {"avx512f": True, "avx512fp16": True}, "graniterapids"),
        ("znver4", {"avx512f": True}, "znver4"),
        ("znver9", {"avx512f": True, "avx512fp16": True, "sse4a": True}, "znver9"),
    ],
)
def test_servers_that_show_another_model_number_are_known_by_what_only_they_can_do(
    cpu: str, features: dict[str, bool], name: str
) -> None:
    assert core_name(cpu, features) == name


def test_there_is_memory() -> None:
    assert physical_memory() >= 1 << 28


V1_GROUPS = "5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n1:name=systemd:/docker/a\n0::/\n"
CONTROL_GROUPS = {
    "no groups": ({}, None, None),
    "v2": ({"cpu.max": "150000 100000", "memory.max": "1000000"}, 2, 1000000),
    "v2, less than one core": ({"cpu.max": "50000 100000", "memory.max": "max"}, 1, None),
    "v2, no limits": ({"cpu.max": "max 100000", "memory.max": "max"}, None, None),
    "v2, more than there is": ({"cpu.max": "100000000 100000", "memory.max": str(1 << 62)}, None, None),
    "v2, a group of its own": ({"": "0::/a/b\n", "a/b/cpu.max": "300000 100000", "a/b/memory.max": "5"}, 3, 5),
    "v2, the group around": ({"": "0::/a/b\n", "a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000"}, 1, None),
    "v2, seen from inside": ({"": "0::/../../x\n", "cpu.max": "100000 100000"}, 1, None),
    "v2, a file cut short": ({"cpu.max": "100000", "memory.max": ""}, None, None),
    "v2, not numbers": ({"cpu.max": "a b", "memory.max": "\0", "": "what\n0::/\n"}, None, None),
    "v2, no period": ({"cpu.max": "100000 0", "memory.max": "0"}, None, None),
    "v1": (
        {
            "": V1_GROUPS,
            "cpu,cpuacct/docker/a/cpu.cfs_quota_us": "100001\n",
            "cpu,cpuacct/docker/a/cpu.cfs_period_us": "100000\n",
            "memory/docker/a/memory.limit_in_bytes": "4096\n",
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
        2,
        4096,
    ),
    "v1, seen from inside": (
        {
            "": V1_GROUPS,
            "cpu/cpu.cfs_quota_us": "20000\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "memory/memory.limit_in_bytes": "8192\n",
        },
        1,
        8192,
    ),
    "v1, no limits": (
        {
            "": V1_GROUPS,
            "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
        None,
        None,
    ),
    "another controller": ({"": "3:cpuset:/\n", "cpu.max": "100000 100000", "memory.max": "5"}, None, None),
}
"""Contents of files below /sys/fs/cgroup ("": of /proc/self/cgroup), and the cores and bytes that they allow."""


@pytest.mark.parametrize("name", CONTROL_GROUPS)
def test_containers_get_their_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    files, cores, memory = CONTROL_GROUPS[name]
    for file, text in {"": "0::/\n", **files}.items():
        path = tmp_path / ("sys/fs/cgroup/" + file if file else "proc/self/cgroup")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert available_cores(tmp_path) == (cores or 8)
    assert physical_memory(tmp_path) == (memory or physical_memory(tmp_path / "nothing"))


def test_what_runs_here() -> None:
    host = host_target()
    assert runs_here(host)
    assert runs_here(replace(host, dot_product=DotProduct.NONE, has_fma=False, vector_lanes=4))
    assert not runs_here(replace(host, vector_lanes=2 * host.vector_lanes))
    assert runs_here(replace(host, has_rounding=False))
    assert not runs_here(replace(host, triple="riscv64-unknown-linux-gnu"))
    assert not runs_here(replace(host, triple=host.triple.split("-")[0] + "-pc-windows-msvc"))
