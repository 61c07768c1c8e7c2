"""The faults of what is stored: tensors out of order, out of place, out of precision."""

import torch

from portkit.verification.causes import Cause
from portkit.verification.faults import norms, values, weights
from portkit.verification.faults.entries import BITS, FUNCTION, Fault

ORDER = (
    Fault("W01", "weights of two layers swapped", Cause.SIBLING_SWAPPED, weights.swap_weights),
    Fault("W02", "biases of two layers swapped", Cause.SIBLING_SWAPPED, weights.swap_biases),
    Fault("W03", "two whole layers swapped", Cause.SIBLING_SWAPPED, weights.swap_layers),
    Fault("W04", "square layer transposed", Cause.TRANSPOSED, weights.transpose_square),
    Fault(
        "W05",
        "feature map flattened channel-last",
        Cause.CHANNEL_LAST_FLATTEN,
        weights.flatten_as("hwc"),
        also=(Cause.MEMORY_ORDER,),
    ),
    Fault(
        "W06",
        "kernels' height and width swapped",
        Cause.KERNEL_TRANSPOSED,
        weights.in_all_kernels(lambda weight: weight.transpose(2, 3)),
    ),
    Fault(
        "W07",
        "kernels rotated by 180°",
        Cause.KERNEL_ROTATED,
        weights.in_all_kernels(lambda weight: weight.flip(2, 3)),
    ),
    Fault(
        "W09", "first filters' channels reversed", Cause.CHANNELS_REVERSED, weights.reverse_channels
    ),
    Fault(
        "W10", "towers swapped", Cause.HALVES_SWAPPED, weights.swap_towers, also=(Cause.SHIFTED,)
    ),
    Fault("W12", "layer left as initialised", Cause.UNRELATED, weights.leave_initial),
    Fault(
        "W13", "one bias left at 0", Cause.ZEROS, weights.zero_one_bias, also=(Cause.MISSING_BIAS,)
    ),
    Fault(
        "W14",
        "biases of the head 0",
        Cause.ZEROS,
        weights.zero_dense_biases,
        also=(Cause.MISSING_BIAS,),
    ),
    Fault("W15", "last bias 0", Cause.ZEROS, weights.zero_last_bias, also=(Cause.MISSING_BIAS,)),
    Fault("W17", "classes shifted by one", Cause.SHIFTED, weights.shift_classes),
    Fault(
        "W18",
        "two classes swapped",
        Cause.ROWS_PERMUTED,
        weights.swap_classes,
        also=(Cause.HALVES_SWAPPED, Cause.SHIFTED),
    ),
    Fault("W21", "bytes read in another order", Cause.MEMORY_ORDER, weights.misread_memory),
    Fault("W22", "another checkpoint", Cause.ANOTHER_CHECKPOINT, weights.take_another_checkpoint),
    Fault(
        "W30",
        "classes in another order",
        Cause.ROWS_PERMUTED,
        weights.reorder_classes,
        also=(Cause.SHIFTED, Cause.HALVES_SWAPPED),
    ),
    Fault(
        "W31",
        "two filters swapped",
        Cause.ROWS_PERMUTED,
        weights.swap_filters,
        also=(Cause.HALVES_SWAPPED, Cause.SHIFTED),
    ),
    Fault(
        "W32",
        "kernels mirrored in width",
        Cause.KERNEL_MIRRORED,
        weights.in_all_kernels(lambda weight: weight.flip(3)),
    ),
    Fault(
        "W33",
        "kernels mirrored in height",
        Cause.KERNEL_MIRRORED,
        weights.in_all_kernels(lambda weight: weight.flip(2)),
    ),
    Fault(
        "W34",
        "feature map flattened (h c w)",
        Cause.MEMORY_ORDER,
        weights.flatten_as("hcw"),
        also=(Cause.CHANNEL_LAST_FLATTEN,),
    ),
    Fault(
        "W35",
        "feature map flattened (c w h)",
        Cause.KERNEL_TRANSPOSED,
        weights.flatten_as("cwh"),
        also=(Cause.MEMORY_ORDER,),
    ),
    Fault("W36", "matrix read column by column", Cause.MEMORY_ORDER, weights.misread_matrix),
    Fault(
        "W37",
        "hidden outputs shifted by one",
        Cause.SHIFTED,
        weights.shift_rows,
        also=(Cause.HALVES_SWAPPED, Cause.ROWS_PERMUTED),
    ),
)

VALUES = (
    Fault(
        "W20",
        "sign of one weight turned",
        Cause.ONE_BIT,
        values.turn_bit(31),
        also=(Cause.ONE_ELEMENT,),
    ),
    Fault("W40", "one exponent bit turned", Cause.ONE_BIT, values.turn_bit(*range(23, 30))),
    Fault("W41", "one low mantissa bit turned", Cause.ONE_BIT, values.turn_bit(0, 1, 2, 3), BITS),
    Fault("W42", "one weight tensor × 1.001", Cause.SCALED, values.scale_weight(1.001)),
    Fault("W43", "one weight tensor negated", Cause.NEGATED, values.negate),
    Fault("W44", "weights clipped", Cause.CLAMPED, values.clip),
    Fault("W45", "denormals flushed", "", values.flush_denormals, BITS),
    Fault("W46", "channel means subtracted from the first filters", "", values.centre_channels),
    Fault("W47", "gains of weight normalisation left out", "", values.drop_gains),
    Fault("N01", "through half precision", Cause.HALF, values.through(torch.float16)),
    Fault("N02", "through bfloat16", Cause.BFLOAT16, values.through(torch.bfloat16)),
    Fault("N03", "quantised to 8 bits", Cause.INT8, values.quantise),
    Fault("N06", "as text of 4 digits", Cause.FEW_DIGITS, values.print_digits(4)),
    Fault(
        "N30",
        "mantissas of 10 bits stored",
        Cause.TF32,
        values.round_to_bits(10),
        also=(Cause.HALF,),
    ),
    Fault("X10", "tiny weights clamped", Cause.CLAMPED, values.clamp_as_half),
    Fault("X14", "one value is NaN", Cause.NOT_FINITE, values.lose_number),
    Fault("X22", "one weight × 1.001", Cause.ONE_ELEMENT, values.scale_one(1.001)),
    Fault("X22b", "as text of 6 digits", Cause.FEW_DIGITS, values.print_digits(6)),
)

NORMS = (
    Fault("B01", "another epsilon", Cause.BATCHNORM_EPS, norms.set_eps, FUNCTION),
    Fault("B02", "statistics not loaded", Cause.BATCHNORM_STATS_INITIAL, norms.reset_statistics),
    Fault(
        "B03", "mean and variance swapped", Cause.BATCHNORM_MEAN_VAR_SWAPPED, norms.swap_statistics
    ),
    Fault(
        "B04",
        "gamma 1",
        Cause.BATCHNORM_GAMMA_ONE,
        norms.in_one_norm("weight", torch.ones_like),
        also=(Cause.ONES,),
    ),
    Fault(
        "B05", "gamma and beta swapped", Cause.BATCHNORM_GAMMA_BETA_SWAPPED, norms.swap_gamma_beta
    ),
    Fault(
        "B06",
        "statistics not divided by Caffe's factor",
        Cause.BATCHNORM_STATS_SCALED,
        norms.scale_statistics,
        also=(Cause.SCALED,),
    ),
    Fault("B08", "batch norm folded and kept", Cause.BATCHNORM_KEPT, norms.keep_folded),
    Fault("B10", "batch norm in training mode", Cause.BATCHNORM_TRAIN_MODE, norms.train, FUNCTION),
    Fault(
        "B11",
        "variance biased",
        Cause.BATCHNORM_UNBIASED_VAR,
        norms.in_one_norm("running_var", lambda var: var * (128 / 127)),
        also=(Cause.SCALED,),
    ),
    Fault(
        "B30",
        "standard deviation stored as variance",
        "",
        norms.in_one_norm("running_var", torch.sqrt),
    ),
    Fault(
        "B31",
        "inverse deviation stored as variance",
        "",
        norms.in_one_norm("running_var", lambda var: 1 / torch.sqrt(var + 1e-5)),
    ),
    Fault("B32", "gamma and beta left out", "", norms.drop_affine, FUNCTION),
    Fault("B33", "one batch counted more", "", norms.count_batch, BITS),
    Fault(
        "B34",
        "each batch's own statistics in eval mode",
        Cause.BATCHNORM_TRAIN_MODE,
        norms.train_unseen,
        FUNCTION,
        (Cause.MISSING_RUNNING_MEAN,),
    ),
)

STORED_FAULTS: tuple[Fault, ...] = (*ORDER, *VALUES, *NORMS)
