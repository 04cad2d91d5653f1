package org.kerasskd.demo;

import android.content.res.Resources;

/** What the screens say of tasks, runs and failures. */
final class Texts {
    private Texts() {}

    /** The task as a button calls it. */
    static String task(Resources resources, Models.Entry model) {
        switch (model.task) {
            case "denoise":
                return resources.getString(R.string.task_denoise);
            case "camera":
                return resources.getString(R.string.task_camera);
            case "derain":
                return resources.getString(R.string.task_derain);
            case "deblur":
                return resources.getString(R.string.task_deblur);
            default:
                return model.name;
        }
    }

    /** "GPU, float16, 441 of 441 operations, 38 ms a tile, 1.2 s in all", and what went amiss. */
    static String ran(Resources resources, Result result) {
        Execution execution = result.execution;
        StringBuilder text = new StringBuilder();
        if (execution.device == Execution.Device.GPU) {
            String precision = execution.float16 ? "float16" : "float32";
            text.append(
                    execution.delegated < 0
                            ? resources.getString(R.string.ran_gpu_uncounted, precision)
                            : resources.getString(
                                    R.string.ran_gpu,
                                    precision,
                                    execution.delegated,
                                    execution.operations));
        } else {
            text.append(
                    resources.getQuantityString(
                            R.plurals.ran_cpu, execution.threads, execution.threads));
        }
        text.append(", ")
                .append(
                        resources.getQuantityString(
                                R.plurals.ran_times,
                                result.tiles,
                                result.tiles,
                                result.millisecondsPerTile,
                                result.seconds));
        if (execution.isPartial()) {
            text.append(resources.getString(R.string.ran_partial));
        }
        if (execution.fallback == Execution.Fallback.UNAVAILABLE) {
            text.append(resources.getString(R.string.ran_gpu_unavailable, brief(execution.detail)));
        } else if (execution.fallback == Execution.Fallback.WRONG) {
            text.append(resources.getString(R.string.ran_gpu_wrong, execution.detail));
        }
        return text.toString();
    }

    /** The runtime's words, cut to what a line or two can hold. */
    static String brief(String words) {
        String line = words.trim().replaceAll("\\s+", " ");
        return line.length() <= 160 ? line : line.substring(0, 159) + "…";
    }

    /** One sentence on what went wrong and what helps. */
    static int failure(PhotoException.Kind kind) {
        switch (kind) {
            case NO_IMAGE:
                return R.string.error_no_image;
            case NO_DECODER:
                return R.string.error_no_decoder;
            case CORRUPT:
                return R.string.error_corrupt;
            case TOO_LARGE:
                return R.string.error_too_large;
            case NO_SPACE:
                return R.string.error_no_space;
            case NO_MEMORY:
                return R.string.error_no_memory;
            case MODEL:
                return R.string.error_model;
            case NO_PERMISSION:
                return R.string.error_no_permission;
            case GALLERY:
                return R.string.error_gallery;
            default:
                return R.string.error_unreadable;
        }
    }
}
