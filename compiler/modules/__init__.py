"""Whole programs at loop level: kernels, their calls, the memory that they share; verifier, interpreter, text form."""
