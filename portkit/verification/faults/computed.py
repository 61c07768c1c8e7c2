"""The catalogue's faults of what is computed: layers, their order, images, answers, arithmetic."""

import torch
from torch import nn
from torch.nn import functional

from portkit.verification.causes import Cause
from portkit.verification.faults import function, norms, structure
from portkit.verification.faults.entries import FUNCTION, RUN_TIME, Fault
from portkit.verification.settings import ACTIVATIONS

_SHUFFLED = structure.work_after(
    (*ACTIVATIONS, nn.MaxPool2d), lambda x: structure.shuffle_channels(x, 2), "channels shuffled"
)
_MIXED = structure.work_after(structure.PASSIVE, structure.mix_batch, "batch mixed")

LRN = (
    Fault(
        "A01",
        "LRN's alpha not divided",
        Cause.LRN_ALPHA,
        norms.set_lrn("alpha", lambda a: a * 5),
        FUNCTION,
    ),
    Fault(
        "A02",
        "LRN's k 1",
        Cause.LRN_K,
        norms.set_lrn("k", lambda k: 1.0 if k != 1 else 2.0),
        FUNCTION,
    ),
    Fault(
        "A03",
        "LRN's size 2r+1",
        Cause.LRN_SIZE,
        norms.set_lrn("size", lambda n: 2 * n + 1),
        FUNCTION,
    ),
    Fault("A04", "LRN left out", Cause.LRN_MISSING, norms.drop_lrn, FUNCTION),
    Fault(
        "A18",
        "LRN and pooling in the other order",
        Cause.LRN_POOL_ORDER,
        norms.swap_lrn_and_pool,
        FUNCTION,
    ),
    Fault("A30", "LRN's beta another", "", norms.set_lrn("beta", lambda b: b * 2), FUNCTION),
)

LAYERS = (
    Fault(
        "A06",
        "ceil mode lost or gained",
        Cause.CEIL_MODE,
        structure.change_settings(nn.MaxPool2d, structure.toggle_ceil),
        FUNCTION,
        by_size=True,
    ),
    Fault(
        "A07",
        "padded as TF's SAME",
        Cause.PADDING_ASYMMETRIC,
        structure.pad_as_tensorflow,
        FUNCTION,
        (Cause.PADDING,),
        by_size=True,
    ),
    Fault(
        "A09",
        "leaky ReLU",
        Cause.ACTIVATION_CHANGED,
        structure.replace_one((nn.ReLU,), lambda _: nn.LeakyReLU(0.01)),
        FUNCTION,
    ),
    Fault(
        "A10",
        "ReLU6",
        Cause.ACTIVATION_CHANGED,
        structure.replace_one((nn.ReLU,), lambda _: nn.ReLU6()),
        FUNCTION,
    ),
    Fault(
        "A11",
        "activation left out",
        Cause.ACTIVATION_MISSING,
        structure.replace_one(ACTIVATIONS, lambda _: nn.Identity()),
        FUNCTION,
        (Cause.ACTIVATION_CHANGED,),
    ),
    Fault(
        "A12",
        "dropout active",
        Cause.DROPOUT_ACTIVE,
        structure.change_settings(nn.Dropout, structure.leave_dropping),
        FUNCTION,
    ),
    Fault(
        "A13",
        "dropout kept as a factor",
        Cause.DROPOUT_SCALE,
        structure.replace_one((nn.Dropout,), structure.drop_kept_as_scale),
        FUNCTION,
        (Cause.SCALED,),
    ),
    Fault(
        "A15",
        "another padding mode",
        Cause.PADDING_MODE,
        structure.change_settings(nn.Conv2d, structure.pad_otherwise),
        FUNCTION,
    ),
    Fault(
        "A17",
        "adaptive pooling left out",
        Cause.ADAPTIVE_POOL_FROZEN,
        structure.replace_one((nn.AdaptiveAvgPool2d,), structure.freeze_adaptive),
        FUNCTION,
        by_size=True,
    ),
    Fault(
        "A31",
        "dilation changed",
        "",
        structure.change_settings(nn.Conv2d, structure.lose_dilation),
        FUNCTION,
    ),
    Fault("A32", "groups interleaved", Cause.GROUPS, structure.interleave_groups, FUNCTION),
    Fault("A33", "stride moved to the pooling", Cause.STRIDE, structure.move_stride, FUNCTION),
    Fault(
        "A34",
        "another pooling kernel",
        "",
        structure.replace_one((nn.MaxPool2d,), structure.pool_wider),
        FUNCTION,
        by_size=True,
    ),
    Fault(
        "A35",
        "average instead of maximum",
        "",
        structure.replace_one((nn.MaxPool2d,), structure.average_instead),
        FUNCTION,
    ),
    Fault(
        "A36",
        "padding and cropping by a pixel",
        Cause.PADDING,
        structure.pad_and_crop,
        FUNCTION,
        (Cause.PADDING_ASYMMETRIC,),
    ),
    Fault("A37", "channels shuffled", "", _SHUFFLED, FUNCTION),
    Fault(
        "A38",
        "GELU's approximation",
        Cause.ACTIVATION_CHANGED,
        structure.change_settings(nn.GELU, structure.approximate_gelu),
        FUNCTION,
    ),
    Fault(
        "A39",
        "hard tanh up to 20",
        Cause.ACTIVATION_CHANGED,
        structure.replace_one((nn.ReLU,), lambda _: nn.Hardtanh(0.0, 20.0)),
        FUNCTION,
    ),
    Fault("A40", "bias added twice", "", structure.add_bias_twice, FUNCTION),
    Fault(
        "A41", "activation in place on what a block adds", "", structure.work_on_aliases, FUNCTION
    ),
    Fault(
        "A43",
        "dropout as a function",
        Cause.DROPOUT_ACTIVE,
        structure.replace_one((nn.Dropout,), structure.drop_as_function),
        FUNCTION,
    ),
    Fault(
        "A44",
        "maximum instead of average",
        "",
        structure.replace_one((nn.AdaptiveAvgPool2d,), structure.take_maximum),
        FUNCTION,
        by_size=True,
    ),
    Fault("E01", "batch and features mixed", Cause.BATCH_MIXED, _MIXED, FUNCTION),
    Fault(
        "X07",
        "padding counted in averages",
        Cause.COUNT_INCLUDE_PAD,
        structure.change_settings(nn.AvgPool2d, structure.count_padding),
        FUNCTION,
    ),
    Fault(
        "X08",
        "maximum over padded zeros",
        Cause.POOL_PADDED_WITH_ZEROS,
        structure.pool_padded_with_zeros,
        FUNCTION,
    ),
)

WHOLE = (
    Fault(
        "A14",
        "softmax appended",
        Cause.SOFTMAX_APPENDED,
        function.answers(function.softmax),
        FUNCTION,
    ),
    Fault("A45", "log-softmax appended", "", function.answers(function.log_softmax), FUNCTION),
    Fault("A46", "sigmoid appended", "", function.answers(torch.sigmoid), FUNCTION),
    Fault("A47", "ReLU appended", "", function.append_relu, FUNCTION),
    Fault("A48", "softmax twice", "", function.softmax_twice, FUNCTION),
    Fault(
        "E02",
        "normalised in the net, too",
        Cause.NORMALISED_TWICE,
        function.images(function.normalise),
        FUNCTION,
    ),
    Fault(
        "E30",
        "channels reversed in the net",
        Cause.CHANNELS_REVERSED,
        function.images(lambda x: x.flip(1), 2),
        FUNCTION,
    ),
    Fault("E31", "images scaled by 255", "", function.images(lambda x: x * 255), FUNCTION),
    Fault("E32", "images enlarged and shrunk", "", function.images(function.blow_up), FUNCTION),
    Fault(
        "E33", "images shifted by a pixel", "", function.images(lambda x: x.roll(1, -1)), FUNCTION
    ),
    Fault(
        "E34",
        "images clamped to ±3",
        "",
        function.images(lambda x: functional.hardtanh(x, -3.0, 3.0)),
        FUNCTION,
    ),
    Fault(
        "E35",
        "images through half precision in any case",
        Cause.REDUCED_PRECISION,
        function.images(lambda x: x.half().to(x.dtype)),
        FUNCTION,
        (Cause.HALF,),
    ),
    Fault(
        "E36",
        "NaN for extreme inputs",
        "",
        function.images(function.overflow, 0),
        FUNCTION,
    ),
    Fault(
        "N04",
        "operands of 10 bits",
        Cause.REDUCED_PRECISION,
        function.round_operands(10),
        RUN_TIME,
        (Cause.TF32,),
    ),
    Fault(
        "N31",
        "operands of 7 bits",
        Cause.REDUCED_PRECISION,
        function.round_operands(7),
        RUN_TIME,
        (Cause.BFLOAT16,),
    ),
    Fault(
        "N32",
        "computed in bfloat16",
        Cause.REDUCED_PRECISION,
        function.run_narrow,
        RUN_TIME,
        (Cause.BFLOAT16,),
    ),
    Fault(
        "N33",
        "images through half precision",
        Cause.REDUCED_PRECISION,
        function.images(function.round_images),
        RUN_TIME,
        (Cause.HALF,),
    ),
    Fault("X06", "resized in another mode", Cause.RESIZE_MODE, function.resize_otherwise, FUNCTION),
    Fault("X15", "an answer that broadcasts", "", function.answers(function.keep_one), FUNCTION),
    Fault("X16", "an output missing", "", function.lose_output, FUNCTION),
    Fault("X30", "an output more", "", function.add_output, FUNCTION),
    Fault("X31", "outputs in another order", "", function.swap_outputs, FUNCTION),
)

COMPUTED_FAULTS: tuple[Fault, ...] = (*LRN, *LAYERS, *WHOLE)
