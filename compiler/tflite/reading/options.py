"""The options of TFLite's operators, table by table and field by field in the order of TensorFlow's schema (version 3).

Fields that netc neither reads nor writes again are None.
"""

from __future__ import annotations

from .flatbuffer import BOOL, F32, I8, I32, I64, U8, U32, Table, Text, Union, Vector

_ONE = I32.or_else(1)
_ACTIVATION = {"fused_activation_function": I8}
_SHIFTS = {"pot_scale_int16": BOOL.or_else(True)}
_ASYMMETRIC = {"asymmetric_quantize_inputs": BOOL}
_WINDOW = {"padding": I8, "stride_w": I32, "stride_h": I32}
_DILATION = {"dilation_w_factor": _ONE, "dilation_h_factor": _ONE}
_BIAS = {"quantized_bias_type": I8}
_CLIPS = {"cell_clip": F32, "proj_clip": F32}
_STRIDED_SLICE = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")

_WITH_FIELDS = {
    1: Table("Conv2DOptions", {**_WINDOW, **_ACTIVATION, **_DILATION, **_BIAS}),
    2: Table("DepthwiseConv2DOptions", {**_WINDOW, "depth_multiplier": I32, **_ACTIVATION, **_DILATION}),
    3: Table(
        "ConcatEmbeddingsOptions",
        {"num_channels": I32, "num_columns_per_channel": Vector(I32), "embedding_dim_per_channel": Vector(I32)},
    ),
    4: Table("LSHProjectionOptions", {"type": I8}),
    5: Table("Pool2DOptions", {**_WINDOW, "filter_width": I32, "filter_height": I32, **_ACTIVATION}),
    6: Table("SVDFOptions", {"rank": I32, **_ACTIVATION, **_ASYMMETRIC}),
    7: Table("RNNOptions", {**_ACTIVATION, **_ASYMMETRIC}),
    8: Table(
        "FullyConnectedOptions", {**_ACTIVATION, "weights_format": I8, "keep_num_dims": BOOL, **_ASYMMETRIC, **_BIAS}
    ),
    9: Table("SoftmaxOptions", {"beta": F32}),
    10: Table("ConcatenationOptions", {"axis": I32, **_ACTIVATION}),
    11: Table("AddOptions", {**_ACTIVATION, **_SHIFTS}),
    12: Table("L2NormOptions", _ACTIVATION),
    13: Table("LocalResponseNormalizationOptions", {"radius": I32, "bias": F32, "alpha": F32, "beta": F32}),
    14: Table("LSTMOptions", {**_ACTIVATION, **_CLIPS, "kernel_type": I8, **_ASYMMETRIC}),
    15: Table(
        "ResizeBilinearOptions", {"_height": None, "_width": None, "align_corners": BOOL, "half_pixel_centers": BOOL}
    ),
    16: Table("CallOptions", {"subgraph": U32}),
    17: Table("ReshapeOptions", {"new_shape": Vector(I32)}),
    18: Table("SkipGramOptions", {"ngram_size": I32, "max_skip_size": I32, "include_all_ngrams": BOOL}),
    19: Table("SpaceToDepthOptions", {"block_size": I32}),
    20: Table("EmbeddingLookupSparseOptions", {"combiner": I8}),
    21: Table("MulOptions", _ACTIVATION),
    23: Table("GatherOptions", {"axis": I32, "batch_dims": I32}),
    27: Table("ReducerOptions", {"keep_dims": BOOL}),
    28: Table("SubOptions", {**_ACTIVATION, **_SHIFTS}),
    29: Table("DivOptions", _ACTIVATION),
    30: Table("SqueezeOptions", {"squeeze_dims": Vector(I32)}),
    31: Table("SequenceRNNOptions", {"time_major": BOOL, **_ACTIVATION, **_ASYMMETRIC}),
    32: Table("StridedSliceOptions", {**dict.fromkeys(_STRIDED_SLICE, I32), "offset": BOOL}),
    35: Table("SplitOptions", {"num_splits": I32}),
    37: Table("CastOptions", {"in_data_type": I8, "out_data_type": I8}),
    40: Table("ArgMaxOptions", {"output_type": I8}),
    49: Table("TransposeConvOptions", {**_WINDOW, **_ACTIVATION, **_BIAS}),
    50: Table("SparseToDenseOptions", {"validate_indices": BOOL}),
    55: Table("ShapeOptions", {"out_type": I8}),
    57: Table("ArgMinOptions", {"output_type": I8}),
    58: Table("FakeQuantOptions", {"min": F32, "max": F32, "num_bits": I32, "narrow_range": BOOL}),
    59: Table("PackOptions", {"values_count": I32, "axis": I32}),
    61: Table("OneHotOptions", {"axis": I32}),
    64: Table("UnpackOptions", {"num": I32, "axis": I32}),
    69: Table(
        "BidirectionalSequenceLSTMOptions",
        {**_ACTIVATION, **_CLIPS, "merge_outputs": BOOL, "time_major": BOOL.or_else(True), **_ASYMMETRIC},
    ),
    70: Table(
        "BidirectionalSequenceRNNOptions", {"time_major": BOOL, **_ACTIVATION, "merge_outputs": BOOL, **_ASYMMETRIC}
    ),
    71: Table(
        "UnidirectionalSequenceLSTMOptions",
        {**_ACTIVATION, **_CLIPS, "time_major": BOOL, **_ASYMMETRIC, "diagonal_recurrent_tensors": BOOL},
    ),
    74: Table("ResizeNearestNeighborOptions", {"align_corners": BOOL, "half_pixel_centers": BOOL}),
    75: Table("LeakyReluOptions", {"alpha": F32}),
    77: Table("MirrorPadOptions", {"mode": I8}),
    79: Table("SplitVOptions", {"num_splits": I32}),
    80: Table("UniqueOptions", {"idx_out_type": I8.or_else(2)}),
    87: Table("ReverseSequenceOptions", {"seq_dim": I32, "batch_dim": I32}),
    92: Table("IfOptions", {"then_subgraph_index": I32, "else_subgraph_index": I32}),
    93: Table("WhileOptions", {"cond_subgraph_index": I32, "body_subgraph_index": I32}),
    94: Table("DepthToSpaceOptions", {"block_size": I32}),
    101: Table("BatchMatMulOptions", {"adj_x": BOOL, "adj_y": BOOL, **_ASYMMETRIC}),
    102: Table("CumsumOptions", {"exclusive": BOOL, "reverse": BOOL}),
    103: Table("CallOnceOptions", {"init_subgraph_index": I32}),
    106: Table(
        "Conv3DOptions",
        {"padding": I8, "stride_d": I32, "stride_w": I32, "stride_h": I32, **_ACTIVATION}
        | {"dilation_d_factor": _ONE, **_DILATION},
    ),
    107: Table("HashtableOptions", {"table_id": I32, "key_dtype": I8, "value_dtype": I8}),
    111: Table("VarHandleOptions", {"container": Text(), "shared_name": Text()}),
    114: Table("RandomOptions", {"seed": I64, "seed2": I64}),
    115: Table("BucketizeOptions", {"boundaries": Vector(F32)}),
    116: Table("GeluOptions", {"approximate": BOOL}),
}
_EMPTY = """
22 PadOptions, 24 BatchToSpaceNDOptions, 25 SpaceToBatchNDOptions, 26 TransposeOptions, 33 ExpOptions, 34 TopKV2Options,
36 LogSoftmaxOptions, 38 DequantizeOptions, 39 MaximumMinimumOptions, 41 LessOptions, 42 NegOptions, 43 PadV2Options,
44 GreaterOptions, 45 GreaterEqualOptions, 46 LessEqualOptions, 47 SelectOptions, 48 SliceOptions, 51 TileOptions,
52 ExpandDimsOptions, 53 EqualOptions, 54 NotEqualOptions, 56 PowOptions, 60 LogicalOrOptions, 62 LogicalAndOptions,
63 LogicalNotOptions, 65 FloorDivOptions, 66 SquareOptions, 67 ZerosLikeOptions, 68 FillOptions, 72 FloorModOptions,
73 RangeOptions, 76 SquaredDifferenceOptions, 78 AbsOptions, 81 ReverseV2Options, 82 AddNOptions, 83 GatherNdOptions,
84 CosOptions, 85 WhereOptions, 86 RankOptions, 88 MatrixDiagOptions, 89 QuantizeOptions, 90 MatrixSetDiagOptions,
91 HardSwishOptions, 95 NonMaxSuppressionV4Options, 96 NonMaxSuppressionV5Options, 97 ScatterNdOptions,
98 SelectV2Options, 99 DensifyOptions, 100 SegmentSumOptions, 104 BroadcastToOptions, 105 Rfft2dOptions,
108 HashtableFindOptions, 109 HashtableImportOptions, 110 HashtableSizeOptions, 112 ReadVariableOptions,
113 AssignVariableOptions, 117 DynamicUpdateSliceOptions, 118 UnsortedSegmentProdOptions,
119 UnsortedSegmentMaxOptions, 120 UnsortedSegmentMinOptions, 121 UnsortedSegmentSumOptions, 122 ATan2Options,
123 SignOptions, 124 BitcastOptions, 125 BitwiseXorOptions, 126 RightShiftOptions
"""


def _empty() -> dict[int, Table]:
    pairs = (entry.split() for entry in _EMPTY.split(","))
    return {int(number): Table(name, {}) for number, name in pairs}


_WHOLE = Vector(I64)
OPTIONS_2 = Union(
    {
        7: Table(
            "StablehloScatterOptions",
            {
                "indices_are_sorted": BOOL,
                "update_window_dims": _WHOLE,
                "inserted_window_dims": _WHOLE,
                "scatter_dims_to_operand_dims": _WHOLE,
                "index_vector_dim": I64,
                "unique_indices": BOOL,
                "update_computation_subgraph_index": I32,
            },
        ),
        10: Table(
            "StablehloPadOptions",
            dict.fromkeys(("edge_padding_low", "edge_padding_high", "interior_padding"), _WHOLE),
        ),
        13: Table(
            "StablehloReduceWindowOptions",
            {
                **dict.fromkeys(("window_dimensions", "window_strides", "base_dilations", "window_dilations"), _WHOLE),
                "padding": _WHOLE,
                "body_subgraph_index": I32,
            },
        ),
        16: Table(
            "StablehloGatherOptions",
            {
                "offset_dims": _WHOLE,
                "collapsed_slice_dims": _WHOLE,
                "start_index_map": _WHOLE,
                "index_vector_dim": I64,
                "slice_sizes": _WHOLE,
                "indices_are_sorted": BOOL,
            },
        ),
        18: Table("DilateOptions", {}),
        20: Table("ReduceWindowOptions", {"reduce_function": I32}),
        21: Table(
            "StableHLOCompositeOptions",
            {
                "name": Text(),
                "decomposition_subgraph_index": I32,
                "composite_attributes": Vector(U8),
                "composite_attributes_format": I8,
                "version": I32,
            },
        ),
    }
)
"""By the numbers of the schema's BuiltinOptions2."""
OPTIONS = Union(dict(sorted({**_WITH_FIELDS, **_empty()}.items())))
"""By the numbers of the schema's BuiltinOptions."""
