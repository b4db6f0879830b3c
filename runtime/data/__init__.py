"""Data: pictures and what samples mean to a net, classes and their names, and the registry of data sources."""
