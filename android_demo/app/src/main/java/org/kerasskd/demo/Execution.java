package org.kerasskd.demo;

/** Where a model runs, and why there: what the screen and the self-check tell of it. */
final class Execution {
    enum Device {
        GPU,
        CPU
    }

    /** Why the GPU was not used. */
    enum Fallback {
        /** It is used, or was not wanted. */
        NONE,
        /** The delegate or the interpreter with it cannot be made. */
        UNAVAILABLE,
        /** It computes the bundled tile wrongly. */
        WRONG
    }

    final Device device;
    /** Whether the GPU may compute in float16. The CPU computes in float32. */
    final boolean float16;
    /** CPU threads. */
    final int threads;
    /** Operations of the model, and those that the GPU took; -1 if the runtime does not tell. */
    final int operations;

    final int delegated;
    final Fallback fallback;
    /** The runtime's own words on the fallback, or the PSNR that was too low. */
    final String detail;

    Execution(
            Device device,
            boolean float16,
            int threads,
            int operations,
            int delegated,
            Fallback fallback,
            String detail) {
        this.device = device;
        this.float16 = float16;
        this.threads = threads;
        this.operations = operations;
        this.delegated = delegated;
        this.fallback = fallback;
        this.detail = detail;
    }

    static Execution gpu(boolean float16, int operations, int delegated) {
        return new Execution(
                Device.GPU, float16, 1, operations, delegated, Fallback.NONE, "");
    }

    static Execution cpu(int threads, int operations) {
        return new Execution(
                Device.CPU, false, threads, operations, 0, Fallback.NONE, "");
    }

    Execution after(Fallback reason, String words) {
        return new Execution(device, float16, threads, operations, delegated, reason, words);
    }

    /** Whether the GPU took some operations and left others to the CPU. */
    boolean isPartial() {
        return device == Device.GPU && delegated >= 0 && delegated < operations;
    }
}
