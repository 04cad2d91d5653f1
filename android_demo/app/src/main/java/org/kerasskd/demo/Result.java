package org.kerasskd.demo;

import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.Properties;

/** A restored photograph, beside the one it was made from, with what there is to tell of it. */
final class Result {
    /** The photograph that was picked, and the restored one, both stored alike. */
    final File source;

    final File file;
    final String mimeType;
    /** What the restored photograph is called in the gallery. */
    final String name;
    /** EXIF orientation of both, 1 to 8. */
    final int orientation;

    final Execution execution;
    final int tiles;
    final double millisecondsPerTile;
    /** From the pick to the finished file. */
    final double seconds;

    Result(
            File source,
            File file,
            String mimeType,
            String name,
            int orientation,
            Execution execution,
            int tiles,
            double millisecondsPerTile,
            double seconds) {
        this.source = source;
        this.file = file;
        this.mimeType = mimeType;
        this.name = name;
        this.orientation = orientation;
        this.execution = execution;
        this.tiles = tiles;
        this.millisecondsPerTile = millisecondsPerTile;
        this.seconds = seconds;
    }

    /** Writes everything but the pictures to a file, so that the result outlives the process. */
    void store(File list) throws IOException {
        Properties values = new Properties();
        values.setProperty("source", source.getName());
        values.setProperty("file", file.getName());
        values.setProperty("mimeType", mimeType);
        values.setProperty("name", name);
        values.setProperty("orientation", String.valueOf(orientation));
        values.setProperty("device", execution.device.name());
        values.setProperty("float16", String.valueOf(execution.float16));
        values.setProperty("threads", String.valueOf(execution.threads));
        values.setProperty("operations", String.valueOf(execution.operations));
        values.setProperty("delegated", String.valueOf(execution.delegated));
        values.setProperty("fallback", execution.fallback.name());
        values.setProperty("detail", execution.detail);
        values.setProperty("tiles", String.valueOf(tiles));
        values.setProperty("millisecondsPerTile", String.valueOf(millisecondsPerTile));
        values.setProperty("seconds", String.valueOf(seconds));
        File part = new File(list.getPath() + ".part");
        try (OutputStream out = new FileOutputStream(part)) {
            values.store(out, null);
        }
        if (!part.renameTo(list)) {
            throw new IOException(list + ": cannot be written");
        }
    }

    /** What {@link #store} wrote; null if there is none, or its pictures are gone. */
    static Result load(File list) {
        Properties values = new Properties();
        try (InputStream in = new FileInputStream(list)) {
            values.load(in);
            File source = new File(list.getParentFile(), values.getProperty("source"));
            File file = new File(list.getParentFile(), values.getProperty("file"));
            if (!source.exists() || !file.exists()) {
                return null;
            }
            Execution execution =
                    new Execution(
                            Execution.Device.valueOf(values.getProperty("device")),
                            Boolean.parseBoolean(values.getProperty("float16")),
                            Integer.parseInt(values.getProperty("threads")),
                            Integer.parseInt(values.getProperty("operations")),
                            Integer.parseInt(values.getProperty("delegated")),
                            Execution.Fallback.valueOf(values.getProperty("fallback")),
                            values.getProperty("detail"));
            return new Result(
                    source,
                    file,
                    values.getProperty("mimeType"),
                    values.getProperty("name"),
                    Integer.parseInt(values.getProperty("orientation")),
                    execution,
                    Integer.parseInt(values.getProperty("tiles")),
                    Double.parseDouble(values.getProperty("millisecondsPerTile")),
                    Double.parseDouble(values.getProperty("seconds")));
        } catch (IOException | RuntimeException e) {
            return null; // none, or of another version
        }
    }
}
