"""Everything that happens when code runs: programs, weights, images, data sets, evaluation, measurement."""

assert __name__ == "netc.runtime", "import netc.runtime, not the folder `runtime` itself"
