"""As what weights of contractions, and where it pays what they multiply, may be stored in inference.

f32: as they are. bf16: 16 bits with the range of f32 (bfloat16). f16: weights alone, in half precision.
"""

F32, BF16, F16 = PRECISIONS = ("f32", "bf16", "f16")
