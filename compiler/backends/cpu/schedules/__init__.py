"""The schedules of processors: register tiles, vectors, and one parallel loop outside."""

from ....lowering import Schedules
from ....lowering.generic import schedule_generic
from ....lowering.margins import schedule_relayout
from .bfloat16_contraction import schedule_bfloat16_contraction
from .channel_reduction import schedule_channel_reduction
from .depthwise import schedule_depthwise
from .float_contraction import schedule_contraction
from .gradients.narrow_weight_gradient import schedule_narrow_weight_gradient
from .gradients.packed_weight_gradient import schedule_packed_weight_gradient
from .gradients.weight_gradient import schedule_weight_gradient
from .grouped import schedule_grouped
from .integers.integer_contraction import schedule_integer_contraction
from .integers.integer_depthwise import schedule_integer_depthwise
from .integers.lane_dot_contraction import schedule_lane_dot_contraction
from .integers.narrow_groups import schedule_narrow_groups
from .integers.pair_contraction import schedule_pair_contraction
from .integers.pair_depthwise import schedule_pair_depthwise
from .integers.reduced_contraction import schedule_reduced_contraction
from .integers.strip_depthwise import schedule_strip_depthwise
from .integers.wide_contraction import schedule_wide_contraction
from .integers.widened_depthwise import schedule_widened_depthwise
from .integers.word_contraction import schedule_word_contraction
from .integers.word_depthwise import schedule_word_depthwise
from .products.attention import schedule_attention
from .products.batch_matmul import schedule_batch_matmul
from .products.integer_products import schedule_integer_products
from .products.row_sums import schedule_row_sums
from .strassen.schedule import STRASSEN, schedule_strassen
from .tiles.tile_contraction import BY_TILES, schedule_bfloat16_tiles, schedule_tile_contraction
from .transpose import schedule_transpose
from .winograd.bfloat16_convolution import OF_PAIRS, schedule_bfloat16_winograd
from .winograd.convolution import BY_PHASES, HALFWAY, IN_PARTS, IN_REGISTERS, PACKED, schedule_winograd
from .winograd.gradient import schedule_winograd_gradient
from .winograd.integer_convolution import IN_ONE_SUM, schedule_integer_winograd

SCHEDULES = Schedules(
    in_order=(
        schedule_depthwise,
        schedule_pair_depthwise,
        schedule_widened_depthwise,
        schedule_word_depthwise,
        schedule_strip_depthwise,
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
        schedule_narrow_groups,
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
        IN_ONE_SUM: (schedule_integer_winograd,),
        IN_PARTS: (schedule_winograd,),
        IN_REGISTERS: (schedule_winograd,),
        HALFWAY: (schedule_winograd,),
        BY_PHASES: (schedule_winograd,),
        OF_PAIRS: (schedule_bfloat16_winograd,),
        STRASSEN: (schedule_strassen,),
        BY_TILES: (schedule_bfloat16_tiles,),
    },
)
