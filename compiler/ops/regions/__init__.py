"""Operators that hold graphs: conditions, loops, scans, maps."""
