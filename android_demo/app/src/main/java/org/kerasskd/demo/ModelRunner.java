package org.kerasskd.demo;

import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.Locale;
import org.tensorflow.lite.DataType;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.Tensor;
import org.tensorflow.lite.gpu.GpuDelegate;
import org.tensorflow.lite.gpu.GpuDelegateFactory;

/**
 * A .tflite restorer on the GPU or the CPU. Owns the native interpreter and delegate. Used by one
 * thread at a time, the one that opened it: the delegate's rule.
 */
final class ModelRunner implements Tiling.Model, AutoCloseable {
    /** The model does not run on the device; the message is the runtime's. */
    static final class UnavailableException extends Exception {
        private static final long serialVersionUID = 1;

        UnavailableException(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** How to run: what the user chose, and what the phone has. */
    static final class Options {
        boolean gpu = true;
        /** Whether the GPU may compute in float16: twice as fast. */
        boolean float16 = true;
        int threads = BigCores.count();
        /** Folder for the GPU's compiled programs, or null; and the name for this model's. */
        String cacheFolder;

        String cacheToken;
    }

    private final GpuDelegate delegate;
    private final Interpreter interpreter;
    private final ByteBuffer input;
    private final ByteBuffer output;
    private final FloatBuffer inputValues;
    private final FloatBuffer outputValues;
    private final int height;
    private final int width;
    private Execution execution;
    private long nanoseconds;
    private int runs;

    private ModelRunner(
            GpuDelegate delegate, Interpreter interpreter, Execution execution, int[] shape) {
        this.delegate = delegate;
        this.interpreter = interpreter;
        this.execution = execution;
        height = shape[1];
        width = shape[2];
        int bytes = height * width * 3 * 4;
        input = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
        output = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
        inputValues = input.asFloatBuffer();
        outputValues = output.asFloatBuffer();
    }

    /**
     * Opens a model for pictures: on the GPU if that is wanted, can be had and computes the tile
     * right; else on the CPU, with the reason in {@link #execution}.
     *
     * @param model the file, a direct buffer
     * @param check a tile of this model, or null if there is none
     */
    static ModelRunner open(ByteBuffer model, Options options, TileCheck check)
            throws UnavailableException {
        Execution.Fallback reason = Execution.Fallback.NONE;
        String words = "";
        if (options.gpu) {
            ModelRunner runner = null;
            try {
                runner = onGpu(model, options);
                double psnr = check == null ? Double.POSITIVE_INFINITY : runner.psnr(check);
                if (psnr >= TileCheck.LEAST) {
                    return runner;
                }
                runner.close();
                reason = Execution.Fallback.WRONG;
                words = String.format(Locale.ROOT, "%.1f dB", psnr);
            } catch (UnavailableException e) {
                if (runner != null) {
                    runner.close();
                }
                reason = Execution.Fallback.UNAVAILABLE;
                words = e.getMessage();
            }
        }
        ModelRunner runner = onCpu(model, options.threads);
        runner.gaveUp(reason, words);
        return runner;
    }

    /** Notes why the GPU is not used. */
    void gaveUp(Execution.Fallback reason, String words) {
        execution = execution.after(reason, words);
    }

    /** Opens a model on the GPU, or says why it does not run there. */
    static ModelRunner onGpu(ByteBuffer model, Options options) throws UnavailableException {
        GpuDelegate delegate = null;
        try {
            GpuDelegateFactory.Options gpu = new GpuDelegateFactory.Options();
            gpu.setPrecisionLossAllowed(options.float16);
            gpu.setInferencePreference(
                    GpuDelegateFactory.Options.INFERENCE_PREFERENCE_SUSTAINED_SPEED);
            if (options.cacheFolder != null) {
                gpu.setSerializationParams(options.cacheFolder, options.cacheToken);
            }
            delegate = new GpuDelegate(gpu);
            Interpreter.Options settings = new Interpreter.Options();
            settings.addDelegate(delegate);
            settings.setNumThreads(options.threads);
            // What the GPU leaves over would go to XNNPACK, and then nobody could count it.
            settings.setUseXNNPACK(false);
            return opened(model, delegate, settings, options);
        } catch (UnavailableException | RuntimeException | LinkageError e) {
            // LinkageError: the phone's ABI has no such library.
            if (delegate != null) {
                delegate.close();
            }
            throw unavailable(e);
        }
    }

    /** Opens a model on the CPU (XNNPACK). */
    static ModelRunner onCpu(ByteBuffer model, int threads) throws UnavailableException {
        try {
            Interpreter.Options settings = new Interpreter.Options();
            settings.setNumThreads(threads);
            settings.setUseXNNPACK(true);
            Options options = new Options();
            options.threads = threads;
            return opened(model, null, settings, options);
        } catch (RuntimeException | LinkageError e) {
            throw unavailable(e);
        }
    }

    private static ModelRunner opened(
            ByteBuffer model, GpuDelegate delegate, Interpreter.Options settings, Options options)
            throws UnavailableException {
        int operations = ModelFile.operations(model);
        // Where the delegate cannot take the graph, the exception comes from here.
        Interpreter interpreter = new Interpreter(model, settings);
        try {
            Tensor in = interpreter.getInputTensor(0);
            Tensor out = interpreter.getOutputTensor(0);
            int[] shape = in.shape();
            if (shape.length != 4
                    || shape[0] != 1
                    || shape[3] != 3
                    || in.dataType() != DataType.FLOAT32
                    || out.dataType() != DataType.FLOAT32
                    || !Arrays.equals(shape, out.shape())) {
                throw new IllegalArgumentException(
                        "the model takes "
                                + in.dataType()
                                + " "
                                + Arrays.toString(shape)
                                + "; a restorer takes and gives FLOAT32 [1, height, width, 3]");
            }
            Execution execution =
                    delegate == null
                            ? Execution.cpu(options.threads, operations)
                            : Execution.gpu(
                                    options.float16,
                                    operations,
                                    delegated(operations, planLength(interpreter)));
            return new ModelRunner(delegate, interpreter, execution, shape);
        } catch (RuntimeException | LinkageError e) {
            interpreter.close();
            throw unavailable(e);
        }
    }

    /**
     * Operations that the delegate took: it replaces one connected part of the graph (its Java
     * options know no more) by one operation.
     *
     * @param planLength operations that the interpreter runs, or -1
     */
    static int delegated(int operations, int planLength) {
        if (operations < 0 || planLength < 0) {
            return -1;
        }
        return planLength >= operations && operations > 1 ? 0 : operations - (planLength - 1);
    }

    /**
     * Operations that the interpreter runs; -1 if it does not tell. The API has no public method
     * for it, but InterpreterImpl has one of its package, for tests.
     */
    private static int planLength(Interpreter interpreter) {
        for (Class<?> type = interpreter.getClass(); type != null; type = type.getSuperclass()) {
            try {
                Method method = type.getDeclaredMethod("getExecutionPlanLength");
                method.setAccessible(true);
                return (Integer) method.invoke(interpreter);
            } catch (NoSuchMethodException e) {
                continue;
            } catch (ReflectiveOperationException | RuntimeException e) {
                return -1;
            }
        }
        return -1;
    }

    private static UnavailableException unavailable(Throwable e) {
        if (e instanceof UnavailableException) {
            return (UnavailableException) e;
        }
        String words = e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
        return new UnavailableException(words.trim(), e);
    }

    @Override
    public int height() {
        return height;
    }

    @Override
    public int width() {
        return width;
    }

    /** Where it runs. */
    Execution execution() {
        return execution;
    }

    /** Restores one tile; its time includes the copies to the device and back. */
    @Override
    public void run(float[] tile, float[] restored) {
        long start = System.nanoTime();
        inputValues.rewind();
        inputValues.put(tile);
        input.rewind();
        output.rewind();
        interpreter.run(input, output);
        outputValues.rewind();
        outputValues.get(restored);
        nanoseconds += System.nanoTime() - start;
        runs++;
    }

    /** Mean time of a tile in milliseconds since it was opened; 0 before the first. */
    double millisecondsPerTile() {
        return runs == 0 ? 0 : nanoseconds / 1e6 / runs;
    }

    /** Forgets the times so far: the first run of a device is slower. */
    void resetTimes() {
        nanoseconds = 0;
        runs = 0;
    }

    /** PSNR of the residual on a tile, in dB. */
    double psnr(TileCheck check) throws UnavailableException {
        if (check.tile.length != height * width * 3) {
            throw new UnavailableException("the check's tile is not of the model's size", null);
        }
        try {
            float[] restored = new float[check.tile.length];
            run(check.tile, restored);
            resetTimes();
            return check.psnr(restored);
        } catch (RuntimeException e) {
            throw unavailable(e);
        }
    }

    @Override
    public void close() {
        interpreter.close();
        if (delegate != null) {
            delegate.close();
        }
    }
}
