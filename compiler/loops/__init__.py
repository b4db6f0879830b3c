"""The loop IR and the vocabulary in which operators state their lowering."""

from .. import graph as graph  # operators sit between graphs and loops: the graph package must be loaded first
