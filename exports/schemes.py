"""The ways to store a student in a ``.tflite`` file."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_skd.quiet import quiet


def float32(model, calibration=None):
    """Float weights, float arithmetic.

    Args:
        model: A Keras model of fixed size and batch 1.
        calibration: Not used.

    Returns:
        The flatbuffer, bytes.

    Raises:
        ValueError: An operation of the model is no LiteRT built-in.
    """
    return _convert(model, lambda converter: None)


def float16(model, calibration=None):
    """Weights rounded to float16; arithmetic in the float type of the runtime."""
    import tensorflow as tf

    def options(converter):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    return _convert(model, options)


def int8(model, calibration):
    """Convolutions in int8, the rest in float.

    Weights are symmetric with a scale per output channel, activations asymmetric with the range
    that they take on the calibration tiles. Norms, softmax, the attention's matmuls and the
    residual additions stay in float: they are a few percent of the arithmetic and most of the loss.

    Args:
        model: A Keras model of fixed size and batch 1.
        calibration: float32 ``(tiles, height, width, channels)``, degraded as in the task.

    Returns:
        The flatbuffer, bytes; input and output are float32.

    Raises:
        ValueError: An operation of the model is no LiteRT built-in.
    """
    content = float32(model)
    with quiet():
        from ai_edge_quantizer import quantizer

        quantization = quantizer.Quantizer(content)
        for operation in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            quantization.add_static_config(".*", operation, 8, 8)
        ranges = quantization.calibrate(
            {"serving_default": [{"image": tile[None]} for tile in calibration]},
            num_threads=2,
            mode=quantizer.calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        )
        return bytes(quantization.quantize(ranges, enable_progress_report=False).quantized_model)


def _convert(model, set_options):
    import tensorflow as tf

    # from_keras_model and not from_concrete_functions: that wrote a broken file for these models.
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    set_options(converter)
    try:
        with quiet():
            return converter.convert()
    except Exception as error:
        raise ValueError(
            f"{model.name} cannot be converted to LiteRT's built-in operations: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error


@dataclass(frozen=True)
class Scheme:
    """A way to store a student, and what it promises.

    Attributes:
        build: Function of the fixed-size Keras model and the calibration tiles; gives the bytes.
        description: One line for ``--help``.
        least_residual_psnr: Bound on the residual against Keras, in dB of its own peak.
        greatest_task_change: Bound on the change of PSNR to the clean tiles against Keras, in dB.
    """

    build: Callable
    description: str
    least_residual_psnr: float
    greatest_task_change: float


SCHEMES = {
    "fp32": Scheme(float32, "float32 weights", 90.0, 0.001),
    "fp16": Scheme(float16, "float16 weights, half the size", 50.0, 0.02),
    "int8": Scheme(int8, "the recommended mix: int8 convolutions, the rest float", 25.0, 0.3),
}
