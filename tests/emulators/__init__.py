"""Machines of QEMU that run libraries for microcontrollers."""
