package org.kerasskd.demo;

import android.os.Build;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/**
 * Runs a student's tile on the GPU and on the CPU: is the result right, and how long does it take?
 */
final class SelfCheck {
    /** Timed runs, of which the median counts. */
    static final int RUNS = 20;

    /** Is told of every row as soon as it is there. */
    interface Rows {
        void add(JSONObject row);
    }

    private SelfCheck() {}

    /**
     * Measures one student. Takes seconds to a minute: not for the main thread.
     *
     * @return phone, model, and a row for each way to run it
     */
    static JSONObject run(Models.Entry model, Rows rows) throws IOException, JSONException {
        ByteBuffer file = model.model();
        TileCheck check = model.check();
        JSONArray results = new JSONArray();
        for (String way : new String[] {"gpu float16", "gpu float32", "cpu float32"}) {
            JSONObject row = measured(file, check, way);
            results.put(row);
            rows.add(row);
        }
        return new JSONObject()
                .put("phone", Build.MANUFACTURER + " " + Build.MODEL)
                .put("android", Build.VERSION.RELEASE)
                .put("api_level", Build.VERSION.SDK_INT)
                .put("chip", NewerApi.chip())
                .put("gpu_driver", GpuDriver.describe())
                .put("task", model.task)
                .put("model", model.name)
                .put("scheme", model.scheme)
                .put("sha256", model.digest)
                .put("least_residual_psnr", TileCheck.LEAST)
                .put("runs", RUNS)
                .put("results", results);
    }

    private static JSONObject measured(ByteBuffer model, TileCheck check, String way)
            throws JSONException {
        ModelRunner.Options options = new ModelRunner.Options();
        options.float16 = way.endsWith("16");
        boolean gpu = way.startsWith("gpu");
        JSONObject row = new JSONObject().put("way", way);
        try (ModelRunner runner =
                gpu
                        ? ModelRunner.onGpu(model, options)
                        : ModelRunner.onCpu(model, options.threads)) {
            double psnr = runner.psnr(check);
            Execution execution = runner.execution();
            row.put("ran", true)
                    .put("right", psnr >= TileCheck.LEAST)
                    // JSON knows no infinity; 200 dB are beyond what float32 tells apart.
                    .put("residual_psnr", Math.max(-200, Math.min(200, psnr)))
                    .put("median_ms", median(runner, check))
                    .put("operations", execution.operations)
                    .put("delegated", gpu ? execution.delegated : 0)
                    .put("threads", execution.threads)
                    .put("tile", runner.width());
        } catch (ModelRunner.UnavailableException | RuntimeException e) {
            row.put("ran", false).put("error", String.valueOf(e.getMessage()));
        }
        return row;
    }

    private static double median(ModelRunner runner, TileCheck check) {
        float[] restored = new float[check.tile.length];
        double[] times = new double[RUNS];
        for (int i = 0; i < RUNS; i++) {
            runner.resetTimes();
            runner.run(check.tile, restored);
            times[i] = runner.millisecondsPerTile();
        }
        Arrays.sort(times);
        return (times[RUNS / 2 - 1] + times[RUNS / 2]) / 2;
    }
}
