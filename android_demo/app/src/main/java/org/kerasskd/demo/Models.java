package org.kerasskd.demo;

import android.content.res.AssetFileDescriptor;
import android.content.res.AssetManager;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/** The students that the app bundles, as assets/models.json lists them. */
final class Models {
    /** One student. */
    static final class Entry {
        /** What it removes: denoise, camera, derain, deblur or another word. */
        final String task;
        /** What it is called, for the screen. */
        final String name;
        final String scheme;
        /** SHA-256 of the file. */
        final String digest;

        private final AssetManager assets;
        private final String model;
        private final String check;

        private Entry(AssetManager assets, JSONObject json) throws JSONException {
            this.assets = assets;
            task = json.getString("task");
            name = json.optString("name", task);
            scheme = json.optString("scheme", "");
            digest = json.getString("sha256");
            model = json.getString("file");
            check = json.getString("check");
        }

        /** A student that lies in a folder beside its check, as keras_skd.phone pushes them. */
        Entry(File folder) throws IOException, JSONException {
            JSONObject json = new JSONObject(text(new FileInputStream(new File(folder, LIST))));
            assets = null;
            task = json.optString("task", "");
            name = json.optString("name", "");
            scheme = json.optString("scheme", "");
            digest = json.getString("sha256");
            model = new File(folder, json.getString("file")).getPath();
            check = new File(folder, json.getString("check")).getPath();
        }

        /** The .tflite file, mapped: it lies uncompressed in the APK. */
        ByteBuffer model() throws IOException {
            if (assets == null) {
                try (FileInputStream in = new FileInputStream(model)) {
                    FileChannel file = in.getChannel();
                    return file.map(FileChannel.MapMode.READ_ONLY, 0, file.size());
                }
            }
            try (AssetFileDescriptor file = assets.openFd(model);
                    FileInputStream in = file.createInputStream()) {
                return in.getChannel()
                        .map(
                                FileChannel.MapMode.READ_ONLY,
                                file.getStartOffset(),
                                file.getDeclaredLength());
            }
        }

        /** The tile with its expected output. */
        TileCheck check() throws IOException {
            try (InputStream in = assets == null ? new FileInputStream(check) : assets.open(check)) {
                return TileCheck.read(ByteBuffer.wrap(bytes(in)));
            }
        }
    }

    private static final String LIST = "models.json";

    private Models() {}

    /** All bundled students, in the order of the list. */
    static List<Entry> bundled(AssetManager assets) {
        try {
            JSONArray list = new JSONArray(text(assets.open(LIST)));
            List<Entry> entries = new ArrayList<>();
            for (int i = 0; i < list.length(); i++) {
                entries.add(new Entry(assets, list.getJSONObject(i)));
            }
            return entries;
        } catch (IOException | JSONException e) {
            throw new IllegalStateException("the APK was built without its models", e);
        }
    }

    private static String text(InputStream in) throws IOException {
        try (InputStream stream = in) {
            return new String(bytes(stream), StandardCharsets.UTF_8);
        }
    }

    private static byte[] bytes(InputStream in) throws IOException {
        ByteArrayOutputStream content = new ByteArrayOutputStream();
        byte[] buffer = new byte[1 << 16];
        for (int n; (n = in.read(buffer)) > 0; ) {
            content.write(buffer, 0, n);
        }
        return content.toByteArray();
    }
}
