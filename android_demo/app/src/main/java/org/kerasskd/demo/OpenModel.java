package org.kerasskd.demo;

import java.io.IOException;

/**
 * The model that is open. It stays so from one photograph to the next: a GPU compiles its programs
 * for seconds. Used by the restorer's thread alone.
 */
final class OpenModel {
    private ModelRunner runner;
    private String key = "";

    /** The model as {@link ModelRunner#open} opens it. */
    ModelRunner on(Models.Entry model, ModelRunner.Options options)
            throws IOException, ModelRunner.UnavailableException {
        String wanted =
                model.digest + options.gpu + options.float16 + options.threads;
        if (!wanted.equals(key)) {
            close();
            options.cacheToken = model.digest.substring(0, 16) + (options.float16 ? "h" : "f");
            runner = ModelRunner.open(model.model(), options, model.check());
            key = wanted;
        }
        return runner;
    }

    /** The model on the CPU, because the GPU failed while it ran. */
    ModelRunner onCpu(Models.Entry model, ModelRunner.Options options, RuntimeException failure)
            throws IOException, ModelRunner.UnavailableException {
        close();
        runner = ModelRunner.onCpu(model.model(), options.threads);
        runner.gaveUp(Execution.Fallback.UNAVAILABLE, String.valueOf(failure.getMessage()));
        return runner; // without a key: the next photograph tries the GPU again
    }

    private void close() {
        key = "";
        if (runner != null) {
            runner.close();
            runner = null;
        }
    }
}
