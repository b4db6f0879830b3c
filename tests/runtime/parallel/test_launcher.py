"""What launchers say in the environment: nothing here starts one."""

from __future__ import annotations

import pytest

from netc.runtime.parallel.launcher import launcher, rank_of_process
from netc.runtime.parallel.world import speaks_with_launcher, why_not_loaded

CASES = {
    "alone": ({}, None, 0),
    "mpiexec of MPICH": ({"PMI_SIZE": "4", "PMI_RANK": "3"}, "mpiexec of MPICH", 3),
    "mpiexec -n 1": ({"PMI_SIZE": "1", "PMI_RANK": "0"}, None, 0),
    "mpirun of Open MPI": ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, "mpirun of Open MPI", 1),
    "mpirun of MVAPICH": ({"MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_RANK": "1"}, "mpirun of MVAPICH", 1),
    "srun --mpi=pmi2": (
        {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "PMI_RANK": "5", "PMI_SIZE": "8", "PMI_FD": "9"},
        "mpiexec of MPICH",
        5,
    ),
    "srun --mpi=pmix": (
        {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "PMIX_RANK": "2", "PMIX_NAMESPACE": "slurm.pmix.1.0"},
        "srun",
        2,
    ),
    "srun without a plugin": ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2"}, "srun", 1),
    "srun -n 1": ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"}, None, 0),
    "a batch script of a job of 8": ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "7"}, None, 0),
}


@pytest.mark.parametrize("case", CASES)
def test_who_has_started_this_process_and_as_which_rank(case: str) -> None:
    environment, who, rank = CASES[case]
    assert launcher(environment) == who
    assert rank_of_process(environment) == rank


HYDRA = {"PMI_FD": "9", "PMI_RANK": "0", "PMI_SIZE": "2", "HYDI_CONTROL_FD": "7"}
PRTE = {"PMIX_NAMESPACE": "prterun-vm-1@1", "PMIX_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}
MPICH = "MPICH Version:      5.0.2\nMPICH configure:    --with-device=ch4:ucx,ofi --with-pm=hydra:gforker\n"
OPEN_MPI = "Open MPI v5.0.11, package: Open MPI user@localhost Distribution"


@pytest.mark.parametrize(
    ("library", "environment", "speaks"),
    [
        (MPICH, HYDRA, True),
        (MPICH, PRTE, False),
        (MPICH + "MPICH PMI: pmix", PRTE, True),
        (MPICH, PRTE | {"PMI_RANK": "0", "PMI_FD": "9"}, True),
        (OPEN_MPI, PRTE, True),
        (OPEN_MPI, HYDRA, False),
        (OPEN_MPI, {"PMI_FD": "9", "PMI_RANK": "0", "SLURM_PROCID": "0"}, True),
    ],
)
def test_a_library_that_its_launcher_can_not_reach_is_seen_before_it_ends_the_process(
    library: str, environment: dict[str, str], speaks: bool
) -> None:
    assert speaks_with_launcher(library, environment) == speaks


def test_why_mpi4py_has_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPI4PY_LIBMPI", raising=False)
    nowhere = "cannot load MPI library\nlibmpi.so.12: cannot open shared object file: No such file or directory"
    assert why_not_loaded(nowhere) == "cannot load MPI library"
    needs = "libfabric.so.1: cannot open shared object file: No such file or directory"
    assert why_not_loaded(f"{nowhere}\n/venv/lib/libmpi.so: file too short\n{needs}\n{needs}") == (
        f"cannot load MPI library; {needs}"
    )
    monkeypatch.setenv("MPI4PY_LIBMPI", "/lib/x.so")
    assert why_not_loaded("No module named 'mpi4py'") == "No module named 'mpi4py'; MPI4PY_LIBMPI is /lib/x.so"
