"""Small graphs for the GPU delegates."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_skd.quiet import quiet


@pytest.fixture(scope="session")
def converted():
    """``converted(function, shape)``: the ``.tflite`` of a function of one tensor, bytes."""

    def convert(function, shape, custom=False):
        class Body(keras.layers.Layer):
            def call(self, x):
                return function(x) + 1.0  # the converter names the last operation otherwise

            def compute_output_shape(self, input_shape):
                return input_shape

        image = keras.Input(batch_shape=shape, name="image")
        model = keras.Model(image, Body(name="body")(image), name="probe")
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.allow_custom_ops = custom
        with quiet():
            return converter.convert()

    return convert


@pytest.fixture(scope="session")
def on_cpu():
    """``on_cpu(path, images)``: what LiteRT's CPU kernels make of images of any channels."""
    from ai_edge_litert.interpreter import Interpreter

    def run(path, images):
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
        (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
        restored = []
        for image in images:
            interpreter.set_tensor(source["index"], image[None])
            interpreter.invoke()
            restored.append(interpreter.get_tensor(result["index"])[0])
        return np.stack(restored)

    return run
