"""What launchers say in the environment: nothing here starts one."""

from __future__ import annotations

import pytest

from netc.runtime.parallel.launcher import launcher, rank_of_process

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
