"""The loop IR and the vocabulary in which operators state their lowering."""
