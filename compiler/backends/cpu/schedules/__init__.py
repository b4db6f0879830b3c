"""The schedules of processors: register tiles, vectors, and one parallel loop outside."""

from ....lowering import Schedules
from ....lowering.generic import schedule_generic
from ....lowering.margins import schedule_relayout
from .attention import schedule_attention
from .batch_matmul import schedule_batch_matmul
from .bfloat16_contraction import schedule_bfloat16_contraction
from .channel_reduction import schedule_channel_reduction
from .contraction import schedule_contraction
from .depthwise import schedule_depthwise
from .grouped import schedule_grouped
from .integer_contraction import schedule_integer_contraction
from .integer_depthwise import schedule_integer_depthwise
from .integer_products import schedule_integer_products
from .integer_winograd import schedule_integer_winograd
from .lane_dot_contraction import schedule_lane_dot_contraction
from .narrow_weight_gradient import schedule_narrow_weight_gradient
from .packed_weight_gradient import schedule_packed_weight_gradient
from .pair_contraction import schedule_pair_contraction
from .pair_depthwise import schedule_pair_depthwise
from .reduced_contraction import schedule_reduced_contraction
from .row_sums import schedule_row_sums
from .tile_contraction import BY_TILES, schedule_bfloat16_tiles, schedule_tile_contraction
from .transpose import schedule_transpose
from .weight_gradient import schedule_weight_gradient
from .wide_contraction import schedule_wide_contraction
from .widened_depthwise import schedule_widened_depthwise
from .winograd import HALFWAY, IN_PARTS, IN_REGISTERS, PACKED, schedule_winograd
from .winograd_gradient import schedule_winograd_gradient
from .word_contraction import schedule_word_contraction
from .word_depthwise import schedule_word_depthwise

SCHEDULES = Schedules(
    in_order=(
        schedule_depthwise,
        schedule_pair_depthwise,
        schedule_widened_depthwise,
        schedule_word_depthwise,
        schedule_integer_depthwise,
        schedule_tile_contraction,
        schedule_bfloat16_contraction,
        schedule_contraction,
        schedule_batch_matmul,
        schedule_attention,
        schedule_grouped,
        schedule_pair_contraction,
        schedule_reduced_contraction,
        schedule_wide_contraction,
        schedule_word_contraction,
        schedule_lane_dot_contraction,
        schedule_integer_contraction,
        schedule_integer_products,
        schedule_row_sums,
        schedule_narrow_weight_gradient,
        schedule_packed_weight_gradient,
        schedule_weight_gradient,
        schedule_relayout,
        schedule_transpose,
        schedule_channel_reduction,
        schedule_generic,  # takes whatever is left
    ),
    by_algorithm={
        PACKED: (schedule_winograd, schedule_integer_winograd, schedule_winograd_gradient),
        IN_PARTS: (schedule_winograd,),
        IN_REGISTERS: (schedule_winograd,),
        HALFWAY: (schedule_winograd,),
        BY_TILES: (schedule_bfloat16_tiles,),
    },
)
