package org.kerasskd.demo;

import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.List;
import java.util.Properties;

/** Keeps what a job was, so that it can be started again where the system ended the process. */
final class JobFile {
    private static final String NAME = "job.properties";

    private JobFile() {}

    /** Notes a job whose photograph lies complete in the folder. */
    static void store(File folder, Restorer.Request request) throws IOException {
        Properties values = new Properties();
        values.setProperty("name", request.name);
        values.setProperty("model", request.model.digest);
        try (OutputStream out = new FileOutputStream(new File(folder, NAME))) {
            values.store(out, null);
        }
    }

    /** The job that was not finished, without a source: its photograph is there; or null. */
    static Restorer.Request load(
            File folder, List<Models.Entry> models, ModelRunner.Options options) {
        Properties values = new Properties();
        try (InputStream in = new FileInputStream(new File(folder, NAME))) {
            values.load(in);
        } catch (IOException | IllegalArgumentException e) {
            return null;
        }
        for (Models.Entry model : models) {
            if (model.digest.equals(values.getProperty("model"))) {
                return new Restorer.Request(null, values.getProperty("name"), model, options);
            }
        }
        return null;
    }
}
