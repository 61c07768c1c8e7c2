"""The table of causes: all that a diagnosis may name, and all that a fault may be called."""

from enum import StrEnum


class Cause(StrEnum):
    """Why something is wrong, by a short name that reports, JSON and JUnit files carry."""

    # Elements of a tensor, or of activations, in wrong places.
    TRANSPOSED = "transposed"
    KERNEL_TRANSPOSED = "kernel_transposed"
    KERNEL_ROTATED = "kernel_rotated"
    KERNEL_MIRRORED = "kernel_mirrored"
    CHANNELS_REVERSED = "channels_reversed"  # RGB ↔ BGR
    CHANNEL_LAST_FLATTEN = "channel_last_flatten"
    MEMORY_ORDER = "memory_order"
    ROWS_PERMUTED = "rows_permuted"
    SHIFTED = "shifted"
    HALVES_SWAPPED = "halves_swapped"
    ELEMENTS_PERMUTED = "elements_permuted"
    SIBLING_SWAPPED = "sibling_swapped"  # another tensor of the source
    BATCH_MIXED = "batch_mixed"

    # Elements in their places with other values.
    ZEROS = "zeros"
    ONES = "ones"
    NEGATED = "negated"
    SCALED = "scaled"
    CLAMPED = "clamped"
    NOT_FINITE = "not_finite"
    ONE_BIT = "one_bit"
    ONE_ELEMENT = "one_element"
    HALF = "half"
    BFLOAT16 = "bfloat16"
    TF32 = "tf32"
    INT8 = "int8"
    FEW_DIGITS = "few_digits"
    REDUCED_PRECISION = "reduced_precision"  # of what is computed, not of what is stored
    ANOTHER_CHECKPOINT = "another_checkpoint"
    UNRELATED = "unrelated"

    # Tensors that a layer lacks.
    MISSING_WEIGHT = "missing_weight"
    MISSING_BIAS = "missing_bias"
    MISSING_RUNNING_MEAN = "missing_running_mean"
    MISSING_RUNNING_VAR = "missing_running_var"
    MISSING_TENSOR = "missing_tensor"  # any other

    # Normalisation.
    BATCHNORM_EPS = "batchnorm_eps"
    BATCHNORM_TRAIN_MODE = "batchnorm_train_mode"
    BATCHNORM_STATS_INITIAL = "batchnorm_stats_initial"
    BATCHNORM_STATS_SCALED = "batchnorm_stats_scaled"
    BATCHNORM_UNBIASED_VAR = "batchnorm_unbiased_var"
    BATCHNORM_MEAN_VAR_SWAPPED = "batchnorm_mean_var_swapped"
    BATCHNORM_GAMMA_BETA_SWAPPED = "batchnorm_gamma_beta_swapped"
    BATCHNORM_GAMMA_ONE = "batchnorm_gamma_one"
    BATCHNORM_KEPT = "batchnorm_kept"  # folded and still there
    BATCHNORM_MISSING = "batchnorm_missing"
    NORM_EPS = "norm_eps"  # of any other norm
    LRN_ALPHA = "lrn_alpha"
    LRN_BETA = "lrn_beta"
    LRN_K = "lrn_k"
    LRN_SIZE = "lrn_size"
    LRN_MISSING = "lrn_missing"
    LRN_ADDED = "lrn_added"
    LRN_POOL_ORDER = "lrn_pool_order"

    # What layers compute, and which there are.
    KERNEL_SIZE = "kernel_size"
    STRIDE = "stride"
    PADDING = "padding"
    PADDING_ASYMMETRIC = "padding_asymmetric"
    PADDING_MODE = "padding_mode"
    DILATION = "dilation"
    GROUPS = "groups"
    CEIL_MODE = "ceil_mode"
    COUNT_INCLUDE_PAD = "count_include_pad"
    POOL_PADDED_WITH_ZEROS = "pool_padded_with_zeros"
    POOLING_CHANGED = "pooling_changed"
    POOLING_MISSING = "pooling_missing"
    POOLING_ADDED = "pooling_added"
    ADAPTIVE_POOL_FROZEN = "adaptive_pool_frozen"
    RESIZE_MODE = "resize_mode"
    ACTIVATION_CHANGED = "activation_changed"
    ACTIVATION_MISSING = "activation_missing"
    ACTIVATION_ADDED = "activation_added"
    SOFTMAX_APPENDED = "softmax_appended"
    SOFTMAX_MISSING = "softmax_missing"
    SOFTMAX_AXIS = "softmax_axis"
    DROPOUT_ACTIVE = "dropout_active"
    DROPOUT_SCALE = "dropout_scale"
    LAYERS_MISSING = "layers_missing"
    ORDER_CHANGED = "order_changed"

    # How an image is prepared.
    NORMALISED_TWICE = "normalised_twice"
    NOT_NORMALISED = "not_normalised"
    STD_MISSING = "std_missing"
    CONSTANTS_REVERSED = "constants_reversed"
    RANGE_255 = "range_255"
    SYMMETRIC_RANGE = "symmetric_range"
    CAFFE_STYLE = "caffe_style"
    MIRRORED = "mirrored"
    IMAGE_TRANSPOSED = "image_transposed"
    CROP_SHIFTED = "crop_shifted"
    RESIZE_FILTER = "resize_filter"
    RESIZE_SIZE = "resize_size"

    UNKNOWN = "unknown"  # no usual cause fits
