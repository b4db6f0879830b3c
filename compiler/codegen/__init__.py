"""From loops to LLVM IR, objects and code in memory; the only package that knows LLVM."""
