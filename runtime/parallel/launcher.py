"""Whether a launcher (mpirun, mpiexec, srun) has started this process as one of several; nothing here imports MPI."""

from __future__ import annotations

import os
from collections.abc import Mapping

_LAUNCHERS = (
    ("PMI_SIZE", "mpiexec of MPICH"),
    ("OMPI_COMM_WORLD_SIZE", "mpirun of Open MPI"),
    ("PMIX_SIZE", "a PMIx launcher"),
    ("MV2_COMM_WORLD_SIZE", "mpirun of MVAPICH"),
)
"""What launchers tell their processes about their number."""


def launcher(environment: Mapping[str, str] = os.environ) -> str | None:
    """Who has started this process as one of several; None if nobody has."""
    for name, who in _LAUNCHERS:
        if environment.get(name, "1") != "1":
            return who
    if "SLURM_PROCID" in environment and environment.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        return "srun"
    return None


def rank_of_process(environment: Mapping[str, str] = os.environ) -> int:
    """The rank that a launcher says this process has, before MPI is asked; 0 for one that was started alone."""
    names = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID")
    ranks = (environment.get(name, "") for name in names)
    found = next((rank for rank in ranks if rank.isdigit()), "0")
    return int(found) if launcher(environment) else 0
