"""Processors: vectors, registers, caches and threads of one process.

backend             the folder as a whole
choose_algorithms   which convolutions go by Winograd's filtering; cycles are its measurements
choose_tiles        which products of bfloat16 go by tile registers
schedules           from groups of operations to register-tiled loops
codegen             from loops to LLVM, objects and code in memory, with runtime.ll and netc.h
"""
