"""What operators of ONNX become, a module for each family; `registry` finds them here."""
