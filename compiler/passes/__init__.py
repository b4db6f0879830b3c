"""Passes: functions from graph to graph, each with a name, and pipelines of them in text form."""
