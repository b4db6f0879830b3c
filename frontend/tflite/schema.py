"""The tables of TFLite model files, field by field in the order of TensorFlow's schema (version 3).

Fields that netc doesn't read are None. The options of an operator are decoded if they are listed in `OPTIONS`.
"""

from __future__ import annotations

from .flatbuffer import BOOL, F32, I8, I32, I64, U8, U32, U64, Table, Text, Union, Vector

IDENTIFIER = b"TFL3"

_TEXT = Text()
_ONE = I32.or_else(1)
_ACTIVATION = {"fused_activation_function": I8}
_WINDOW = {"padding": I8, "stride_w": I32, "stride_h": I32}
_DILATION = {"dilation_w_factor": _ONE, "dilation_h_factor": _ONE}


def _options(*tables: tuple[int, Table]) -> Union:
    return Union(dict(tables))


OPTIONS = _options(
    (1, Table("Conv2DOptions", {**_WINDOW, **_ACTIVATION, **_DILATION})),
    (2, Table("DepthwiseConv2DOptions", {**_WINDOW, "depth_multiplier": I32, **_ACTIVATION, **_DILATION})),
    (5, Table("Pool2DOptions", {**_WINDOW, "filter_width": I32, "filter_height": I32, **_ACTIVATION})),
    (8, Table("FullyConnectedOptions", {**_ACTIVATION, "weights_format": I8, "keep_num_dims": BOOL})),
    (9, Table("SoftmaxOptions", {"beta": F32})),
    (10, Table("ConcatenationOptions", {"axis": I32, **_ACTIVATION})),
    (11, Table("AddOptions", _ACTIVATION)),
    (12, Table("L2NormOptions", _ACTIVATION)),
    (
        15,
        Table(
            "ResizeBilinearOptions",
            {"_height": None, "_width": None, "align_corners": BOOL, "half_pixel_centers": BOOL},
        ),
    ),
    (17, Table("ReshapeOptions", {"new_shape": Vector(I32)})),
    (19, Table("SpaceToDepthOptions", {"block_size": I32})),
    (21, Table("MulOptions", _ACTIVATION)),
    (23, Table("GatherOptions", {"axis": I32, "batch_dims": I32})),
    (27, Table("ReducerOptions", {"keep_dims": BOOL})),
    (28, Table("SubOptions", _ACTIVATION)),
    (29, Table("DivOptions", _ACTIVATION)),
    (30, Table("SqueezeOptions", {"squeeze_dims": Vector(I32)})),
    (
        32,
        Table(
            "StridedSliceOptions",
            {
                "begin_mask": I32,
                "end_mask": I32,
                "ellipsis_mask": I32,
                "new_axis_mask": I32,
                "shrink_axis_mask": I32,
                "offset": BOOL,
            },
        ),
    ),
    (35, Table("SplitOptions", {"num_splits": I32})),
    (37, Table("CastOptions", {"in_data_type": I8, "out_data_type": I8})),
    (40, Table("ArgMaxOptions", {"output_type": I8})),
    (49, Table("TransposeConvOptions", {**_WINDOW, **_ACTIVATION})),
    (59, Table("PackOptions", {"values_count": I32, "axis": I32})),
    (64, Table("UnpackOptions", {"num": I32, "axis": I32})),
    (
        71,
        Table(
            "UnidirectionalSequenceLSTMOptions",
            {**_ACTIVATION, "cell_clip": F32, "proj_clip": F32, "time_major": BOOL},
        ),
    ),
    (74, Table("ResizeNearestNeighborOptions", {"align_corners": BOOL, "half_pixel_centers": BOOL})),
    (75, Table("LeakyReluOptions", {"alpha": F32})),
    (77, Table("MirrorPadOptions", {"mode": I8})),
    (79, Table("SplitVOptions", {"num_splits": I32})),
    (94, Table("DepthToSpaceOptions", {"block_size": I32})),
    (101, Table("BatchMatMulOptions", {"adj_x": BOOL, "adj_y": BOOL})),
)

QUANTIZATION = Table(
    "QuantizationParameters",
    {
        "min": None,
        "max": None,
        "scale": Vector(F32),
        "zero_point": Vector(I64),
        "details_type": U8,
        "details": None,
        "quantized_dimension": I32,
    },
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
        "sparsity": Table("SparsityParameters", {}),
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
    {"deprecated_builtin_code": I8, "custom_code": _TEXT, "version": _ONE, "builtin_code": I32},
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
