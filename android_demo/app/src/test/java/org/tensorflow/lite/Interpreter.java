package org.tensorflow.lite;

import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.concurrent.locks.LockSupport;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.IntPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.tensorflowlite.BuiltinOpResolver;
import org.bytedeco.tensorflowlite.BuiltinOpResolverWithXNNPACK;
import org.bytedeco.tensorflowlite.FlatBufferModel;
import org.bytedeco.tensorflowlite.InterpreterBuilder;
import org.bytedeco.tensorflowlite.TfLiteTensor;
import org.tensorflow.lite.gpu.GpuDelegate;

/**
 * The class of Android's library over TensorFlow Lite's build for the JVM: it stands before that on
 * the class path, so that the app's own code runs the real kernels here. What the "GPU" does is
 * what {@link GpuDelegate} was told.
 */
public final class Interpreter implements AutoCloseable {
    /** As in Android's library. */
    public static class Options extends InterpreterImpl.Options {
        @Override
        public Options setNumThreads(int threads) {
            super.setNumThreads(threads);
            return this;
        }

        @Override
        public Options setUseXNNPACK(boolean use) {
            super.setUseXNNPACK(use);
            return this;
        }

        @Override
        public Options addDelegate(Delegate delegate) {
            super.addDelegate(delegate);
            return this;
        }
    }

    /** Interpreters that are open; a test that ends with another number leaks. */
    public static int open;

    private final BytePointer content;
    private final FlatBufferModel model;
    private final BuiltinOpResolver resolver = new BuiltinOpResolverWithXNNPACK();
    private final InterpreterBuilder builder;
    private final org.bytedeco.tensorflowlite.Interpreter interpreter;
    private final GpuDelegate gpu;

    public Interpreter(ByteBuffer file, Options options) {
        if (!file.isDirect()) {
            throw new IllegalArgumentException("Model ByteBuffer should be a direct buffer");
        }
        gpu = options.getDelegates().isEmpty() ? null : (GpuDelegate) options.getDelegates().get(0);
        if (gpu != null && GpuDelegate.behaviour == GpuDelegate.Behaviour.REFUSES_GRAPH) {
            throw new IllegalArgumentException(
                    "Internal error: Failed to apply delegate: MEAN: Mean calculation is supported"
                            + " only for height and width.");
        }
        content = new BytePointer(file.duplicate());
        model = FlatBufferModel.BuildFromBuffer(content, file.capacity());
        if (model == null || model.isNull()) {
            throw new IllegalArgumentException("ByteBuffer is not a valid TensorFlow Lite model");
        }
        builder = new InterpreterBuilder(model, resolver);
        interpreter = new org.bytedeco.tensorflowlite.Interpreter((Pointer) null);
        builder.SetNumThreads(Math.max(1, options.getNumThreads()));
        if (builder.apply(interpreter) != 0 || interpreter.AllocateTensors() != 0) {
            throw new IllegalStateException("Internal error: Cannot create interpreter");
        }
        open++;
    }

    public Tensor getInputTensor(int index) {
        return described(interpreter.input_tensor(index));
    }

    public Tensor getOutputTensor(int index) {
        return described(interpreter.output_tensor(index));
    }

    private static Tensor described(TfLiteTensor tensor) {
        int[] shape = new int[tensor.dims().size()];
        for (int i = 0; i < shape.length; i++) {
            shape[i] = tensor.dims().data(i);
        }
        DataType type = tensor.type() == 1 ? DataType.FLOAT32 : DataType.UINT8;
        return (Tensor)
                Proxy.newProxyInstance(
                        Tensor.class.getClassLoader(),
                        new Class<?>[] {Tensor.class},
                        (proxy, method, arguments) ->
                                method.getName().equals("shape") ? shape : type);
    }

    public void run(Object input, Object output) {
        if (gpu != null && GpuDelegate.behaviour == GpuDelegate.Behaviour.FAILS_LATER
                && GpuDelegate.runs++ > 1) {
            throw new IllegalStateException("Internal error: Failed to run on the given Interpreter");
        }
        if (gpu != null) {
            LockSupport.parkNanos(GpuDelegate.milliseconds * 1_000_000L);
        }
        FloatBuffer from = ((ByteBuffer) input).order(ByteOrder.nativeOrder()).asFloatBuffer();
        FloatBuffer to = ((ByteBuffer) output).order(ByteOrder.nativeOrder()).asFloatBuffer();
        if (gpu != null && GpuDelegate.behaviour == GpuDelegate.Behaviour.WRONG) {
            to.put(from); // a GPU that does nothing
            return;
        }
        interpreter.typed_input_tensor_float(0).capacity(from.remaining()).put(floats(from));
        if (interpreter.Invoke() != 0) {
            throw new IllegalStateException("Internal error: Failed to run");
        }
        float[] restored = new float[to.remaining()];
        interpreter.typed_output_tensor_float(0).capacity(restored.length).get(restored);
        to.put(restored);
    }

    private static float[] floats(FloatBuffer buffer) {
        float[] values = new float[buffer.remaining()];
        buffer.get(values);
        return values;
    }

    /** What the app looks for by reflection. */
    int getExecutionPlanLength() {
        if (gpu != null) {
            return GpuDelegate.planLength;
        }
        IntPointer plan = interpreter.execution_plan();
        return (int) plan.limit();
    }

    @Override
    public void close() {
        interpreter.close();
        builder.close();
        model.close();
        content.close();
        open--;
    }
}
