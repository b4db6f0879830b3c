"""Operators on quantized numbers, whose integers equal those of TensorFlow Lite's reference kernels bit for bit."""
