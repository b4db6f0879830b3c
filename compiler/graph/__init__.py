"""The graph IR: types, operations, text form, verifier, reference interpreter."""
