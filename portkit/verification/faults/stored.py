"""The faults of what is stored: tensors out of order, out of place, out of precision."""

import torch

from portkit.verification.faults import norms, values, weights
from portkit.verification.faults.entries import BITS, FUNCTION, Fault

ORDER = (
    Fault("W01", "weights of two layers swapped", "sibling_swapped", weights.swap_weights),
    Fault("W02", "biases of two layers swapped", "sibling_swapped", weights.swap_biases),
    Fault("W03", "two whole layers swapped", "sibling_swapped", weights.swap_layers),
    Fault("W04", "square layer transposed", "transposed", weights.transpose_square),
    Fault(
        "W05",
        "feature map flattened channel-last",
        "channel_last_flatten",
        weights.flatten_as("hwc"),
        also=("memory_order",),
    ),
    Fault(
        "W06",
        "kernels' height and width swapped",
        "kernel_transposed",
        weights.in_all_kernels(lambda weight: weight.transpose(2, 3)),
    ),
    Fault(
        "W07",
        "kernels rotated by 180°",
        "kernel_rotated",
        weights.in_all_kernels(lambda weight: weight.flip(2, 3)),
    ),
    Fault("W09", "first filters' channels reversed", "channels_reversed", weights.reverse_channels),
    Fault("W10", "towers swapped", "halves_swapped", weights.swap_towers, also=("shifted",)),
    Fault("W12", "layer left as initialised", "unrelated", weights.leave_initial),
    Fault("W13", "one bias left at 0", "zeros", weights.zero_one_bias, also=("missing_bias",)),
    Fault(
        "W14", "biases of the head 0", "zeros", weights.zero_dense_biases, also=("missing_bias",)
    ),
    Fault("W15", "last bias 0", "zeros", weights.zero_last_bias, also=("missing_bias",)),
    Fault("W17", "classes shifted by one", "shifted", weights.shift_classes),
    Fault(
        "W18",
        "two classes swapped",
        "rows_permuted",
        weights.swap_classes,
        also=("halves_swapped", "shifted"),
    ),
    Fault("W21", "bytes read in another order", "memory_order", weights.misread_memory),
    Fault("W22", "another checkpoint", "another_checkpoint", weights.take_another_checkpoint),
    Fault(
        "W30",
        "classes in another order",
        "rows_permuted",
        weights.reorder_classes,
        also=("shifted", "halves_swapped"),
    ),
    Fault(
        "W31",
        "two filters swapped",
        "rows_permuted",
        weights.swap_filters,
        also=("halves_swapped", "shifted"),
    ),
    Fault(
        "W32",
        "kernels mirrored in width",
        "kernel_mirrored",
        weights.in_all_kernels(lambda weight: weight.flip(3)),
    ),
    Fault(
        "W33",
        "kernels mirrored in height",
        "kernel_mirrored",
        weights.in_all_kernels(lambda weight: weight.flip(2)),
    ),
    Fault(
        "W34",
        "feature map flattened (h c w)",
        "memory_order",
        weights.flatten_as("hcw"),
        also=("channel_last_flatten",),
    ),
    Fault(
        "W35",
        "feature map flattened (c w h)",
        "kernel_transposed",
        weights.flatten_as("cwh"),
        also=("memory_order",),
    ),
    Fault("W36", "matrix read column by column", "memory_order", weights.misread_matrix),
    Fault(
        "W37",
        "hidden outputs shifted by one",
        "shifted",
        weights.shift_rows,
        also=("halves_swapped", "rows_permuted"),
    ),
    Fault(
        "W38",
        "groups of a convolution swapped",
        "halves_swapped",
        weights.swap_inputs_of_groups,
        also=("shifted", "rows_permuted"),
    ),
)

VALUES = (
    Fault(
        "W20", "sign of one weight turned", "one_bit", values.turn_bit(31), also=("one_element",)
    ),
    Fault("W40", "one exponent bit turned", "one_bit", values.turn_bit(*range(23, 30))),
    Fault("W41", "one low mantissa bit turned", "one_bit", values.turn_bit(0, 1, 2, 3), BITS),
    Fault("W42", "one weight tensor × 1.001", "scaled", values.scale_weight(1.001)),
    Fault(
        "W43",
        "one weight tensor negated",
        "negated",
        values.negate,
        also=("scaled", "halves_swapped"),
    ),
    Fault("W44", "weights clipped", "clamped", values.clip),
    Fault("W45", "denormals flushed", "", values.flush_denormals, BITS),
    Fault("W46", "channel means subtracted from the first filters", "", values.centre_channels),
    Fault("W47", "gains of weight normalisation left out", "", values.drop_gains),
    Fault("N01", "through half precision", "half", values.through(torch.float16)),
    Fault("N02", "through bfloat16", "bfloat16", values.through(torch.bfloat16)),
    Fault("N03", "quantised to 8 bits", "int8", values.quantise),
    Fault("N06", "as text of 4 digits", "few_digits", values.print_digits(4)),
    Fault("N30", "mantissas of 10 bits stored", "tf32", values.round_to_bits(10), also=("half",)),
    Fault("X10", "tiny weights clamped", "clamped", values.clamp_as_half),
    Fault("X14", "one value is NaN", "not_finite", values.lose_number),
    Fault("X22", "one weight × 1.001", "one_element", values.scale_one(1.001)),
    Fault("X22b", "as text of 6 digits", "few_digits", values.print_digits(6)),
)

NORMS = (
    Fault("B01", "another epsilon", "batchnorm_eps", norms.set_eps, FUNCTION),
    Fault("B02", "statistics not loaded", "batchnorm_stats_initial", norms.reset_statistics),
    Fault("B03", "mean and variance swapped", "batchnorm_mean_var_swapped", norms.swap_statistics),
    Fault(
        "B04",
        "gamma 1",
        "batchnorm_gamma_one",
        norms.in_one_norm("weight", torch.ones_like),
        also=("ones",),
    ),
    Fault("B05", "gamma and beta swapped", "batchnorm_gamma_beta_swapped", norms.swap_gamma_beta),
    Fault(
        "B06",
        "statistics not divided by Caffe's factor",
        "batchnorm_stats_scaled",
        norms.scale_statistics,
        also=("scaled",),
    ),
    Fault("B08", "batch norm folded and kept", "batchnorm_kept", norms.keep_folded),
    Fault("B10", "batch norm in training mode", "batchnorm_train_mode", norms.train, FUNCTION),
    Fault(
        "B11",
        "variance biased",
        "batchnorm_unbiased_var",
        norms.in_one_norm("running_var", lambda var: var * (128 / 127)),
        also=("scaled",),
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
        "batchnorm_train_mode",
        norms.train_unseen,
        FUNCTION,
        ("missing_running_mean",),
    ),
)

STORED_FAULTS: tuple[Fault, ...] = (*ORDER, *VALUES, *NORMS)
