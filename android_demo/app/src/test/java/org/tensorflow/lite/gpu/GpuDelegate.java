package org.tensorflow.lite.gpu;

import org.tensorflow.lite.Delegate;

/** Stands in for a phone's GPU, which is not here: does what a test wants of it. */
public final class GpuDelegate implements Delegate, AutoCloseable {
    /** What a phone's GPU may do. */
    public enum Behaviour {
        /** There is no library for the phone's ABI. */
        NO_LIBRARY,
        /** The delegate cannot be made. */
        REFUSES_DELEGATE,
        /** The interpreter cannot be made with it: OpenGL, for example. */
        REFUSES_GRAPH,
        /** All is well. */
        WORKS,
        /** It gives back what it was given. */
        WRONG,
        /** It works for the check and fails in the middle of a picture. */
        FAILS_LATER
    }

    public static Behaviour behaviour = Behaviour.WORKS;
    /** Operations that the interpreter runs with it. */
    public static int planLength = 1;
    /** Runs since the last reset. */
    public static int runs;
    /** How long it takes for a tile at least, so that a test can do something meanwhile. */
    public static int milliseconds;
    /** Delegates that are open. */
    public static int open;
    /** Whether the last one may lose precision. */
    public static boolean precisionLossAllowed;

    public GpuDelegate(GpuDelegateFactory.Options options) {
        if (behaviour == Behaviour.NO_LIBRARY) {
            throw new UnsatisfiedLinkError("dlopen failed: libtensorflowlite_gpu_jni.so not found");
        }
        if (behaviour == Behaviour.REFUSES_DELEGATE) {
            throw new UnsupportedOperationException("no OpenCL");
        }
        precisionLossAllowed = options.isPrecisionLossAllowed();
        open++;
    }

    /** As after the start of a phone whose GPU is in order. */
    public static void reset() {
        behaviour = Behaviour.WORKS;
        planLength = 1;
        runs = 0;
        milliseconds = 0;
    }

    @Override
    public long getNativeHandle() {
        return 1;
    }

    @Override
    public void close() {
        open--;
    }
}
