"""The tables of TFLite model files, field by field in the order of TensorFlow's schema (version 3).

Fields that netc doesn't read are None. The options of operators stand in `options`.
"""

from __future__ import annotations

from .flatbuffer import BOOL, F32, I8, I32, I64, U8, U16, U32, U64, Table, Text, Union, Vector
from .options import OPTIONS, OPTIONS_2

IDENTIFIER = b"TFL3"
VERSION = 3

_TEXT = Text()

QUANTIZATION = Table(
    "QuantizationParameters",
    {
        "min": None,
        "max": None,
        "scale": Vector(F32),
        "zero_point": Vector(I64),
        "details_type": U8,
        "details": Union({2: Table("BlockwiseQuantization", {"scales": I32, "zero_points": I32, "block_size": I32})}),
        "quantized_dimension": I32,
    },
)
_INDICES = Union(
    {
        1: Table("Int32Vector", {"values": Vector(I32)}),
        2: Table("Uint16Vector", {"values": Vector(U16)}),
        3: Table("Uint8Vector", {"values": Vector(U8)}),
    }
)
DIMENSION_METADATA = Table(
    "DimensionMetadata",
    {
        "format": I8,
        "dense_size": I32,
        "array_segments_type": U8,
        "array_segments": _INDICES,
        "array_indices_type": U8,
        "array_indices": _INDICES,
    },
)
SPARSITY = Table(
    "SparsityParameters",
    {"traversal_order": Vector(I32), "block_map": Vector(I32), "dim_metadata": Vector(DIMENSION_METADATA)},
)
TENSOR = Table(
    "Tensor",
    {
        "shape": Vector(I32),
        "type": I8,
        "buffer": U32,
        "name": _TEXT,
        "quantization": QUANTIZATION,
        "is_variable": BOOL,
        "sparsity": SPARSITY,
        "shape_signature": Vector(I32),
        "has_rank": BOOL,
    },
)
OPERATOR = Table(
    "Operator",
    {
        "opcode_index": U32,
        "inputs": Vector(I32),
        "outputs": Vector(I32),
        "builtin_options_type": U8,
        "builtin_options": OPTIONS,
        "custom_options": Vector(U8),
        "custom_options_format": None,
        "mutating_variable_inputs": None,
        "intermediates": Vector(I32),
        "large_custom_options_offset": None,
        "large_custom_options_size": None,
        "builtin_options_2_type": U8,
        "builtin_options_2": OPTIONS_2,
    },
)
SUBGRAPH = Table(
    "SubGraph",
    {
        "tensors": Vector(TENSOR),
        "inputs": Vector(I32),
        "outputs": Vector(I32),
        "operators": Vector(OPERATOR),
        "name": _TEXT,
    },
)
OPERATOR_CODE = Table(
    "OperatorCode",
    {"deprecated_builtin_code": I8, "custom_code": _TEXT, "version": I32.or_else(1), "builtin_code": I32},
)
BUFFER = Table("Buffer", {"data": Vector(U8), "offset": U64, "size": U64})
METADATA = Table("Metadata", {"name": _TEXT, "buffer": U32})
TENSOR_MAP = Table("TensorMap", {"name": _TEXT, "tensor_index": U32})
SIGNATURE = Table(
    "SignatureDef",
    {
        "inputs": Vector(TENSOR_MAP),
        "outputs": Vector(TENSOR_MAP),
        "signature_key": _TEXT,
        "_deprecated_tag": None,
        "subgraph_index": U32,
    },
)
MODEL = Table(
    "Model",
    {
        "version": U32,
        "operator_codes": Vector(OPERATOR_CODE),
        "subgraphs": Vector(SUBGRAPH),
        "description": _TEXT,
        "buffers": Vector(BUFFER),
        "metadata_buffer": None,
        "metadata": Vector(METADATA),
        "signature_defs": Vector(SIGNATURE),
    },
)

# Metadata that tools embed as a flatbuffer of its own (TensorFlow Lite Support's schema, version 1).

METADATA_IDENTIFIER = b"M001"

ASSOCIATED_FILE = Table("AssociatedFile", {"name": _TEXT, "description": None, "type": I8})
PROCESS_UNIT = Table(
    "ProcessUnit",
    {
        "options_type": U8,
        "options": Union({1: Table("NormalizationOptions", {"mean": Vector(F32), "std": Vector(F32)})}),
    },
)
TENSOR_METADATA = Table(
    "TensorMetadata",
    {
        "name": _TEXT,
        "description": None,
        "dimension_names": None,
        "content": None,
        "process_units": Vector(PROCESS_UNIT),
        "stats": None,
        "associated_files": Vector(ASSOCIATED_FILE),
    },
)
SUBGRAPH_METADATA = Table(
    "SubGraphMetadata",
    {
        "name": _TEXT,
        "description": None,
        "input_tensor_metadata": Vector(TENSOR_METADATA),
        "output_tensor_metadata": Vector(TENSOR_METADATA),
    },
)
MODEL_METADATA = Table(
    "ModelMetadata",
    {"name": _TEXT, "description": None, "version": None, "subgraph_metadata": Vector(SUBGRAPH_METADATA)},
)
