package org.kerasskd.demo;

import android.app.Activity;
import android.content.Intent;
import android.os.Bundle;
import android.os.Handler;
import android.os.Looper;
import android.view.View;
import android.widget.TextView;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/**
 * Measures the phone: are the students right on its GPU, and how fast? From a desk:
 *
 * <pre>adb shell am start -n org.kerasskd.demo/.SelfCheckActivity --es folder NAME</pre>
 *
 * measures the student in {@code files/selfcheck/NAME} of this app's data and writes {@code
 * result.json} beside it, as {@code python -m keras_skd.phone} does.
 */
public final class SelfCheckActivity extends Activity {
    /** Extra: name of a folder in {@code files/selfcheck}. Without it the bundled students. */
    static final String FOLDER = "folder";

    /** Goes on where the Activity is made anew, and keeps what it found. */
    private static final class Run {
        final StringBuilder text = new StringBuilder();
        String json;
        SelfCheckActivity screen;
    }

    private final Handler main = new Handler(Looper.getMainLooper());
    private Run run;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.self_check);
        findViewById(R.id.share_json).setOnClickListener(view -> share());
        run = (Run) getLastNonConfigurationInstance();
        if (run == null) {
            run = new Run();
            Run fresh = run;
            String folder = getIntent().getStringExtra(FOLDER);
            new Thread(() -> measure(fresh, folder), "self-check").start();
        }
        run.screen = this;
        show();
    }

    @Override
    public Object onRetainNonConfigurationInstance() {
        return run;
    }

    @Override
    protected void onDestroy() {
        run.screen = null;
        super.onDestroy();
    }

    private void measure(Run of, String folder) {
        File place = null;
        JSONObject report = new JSONObject();
        try {
            List<Models.Entry> models = new ArrayList<>();
            if (folder == null) {
                models.addAll(Models.bundled(getAssets()));
            } else {
                place = folder(folder);
                models.add(new Models.Entry(place));
            }
            JSONArray reports = new JSONArray();
            report.put("reports", reports);
            for (Models.Entry model : models) {
                add(of, Texts.task(getResources(), model) + "  " + model.scheme + "\n");
                reports.put(SelfCheck.run(model, row -> add(of, described(row))));
            }
            JSONObject phone = reports.getJSONObject(0);
            add(of, getString(R.string.phone, phone.get("phone"), phone.get("android"),
                    phone.get("chip"), phone.get("gpu_driver")));
        } catch (IOException | JSONException | RuntimeException e) {
            add(of, getString(R.string.check_failed, String.valueOf(e.getMessage())));
            // Whoever waits for the file learns of the failure too.
            put(report, "error", String.valueOf(e.getMessage()));
        }
        String json = report.toString();
        if (place != null) {
            write(place, json);
        }
        main.post(
                () -> {
                    of.json = json;
                    if (of.screen != null) {
                        of.screen.show();
                    }
                });
    }

    /** A folder by its name alone: other apps can start this Activity too. */
    private File folder(String name) throws IOException {
        File all = new File(getFilesDir(), "selfcheck");
        File place = new File(all, name);
        if (!place.getCanonicalFile().getParentFile().equals(all.getCanonicalFile())) {
            throw new IOException(name + " is not the name of a folder");
        }
        return place;
    }

    private static void write(File place, String json) {
        File part = new File(place, "result.part");
        try (FileOutputStream out = new FileOutputStream(part)) {
            out.write(json.getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            return; // whoever waits for it gives up in time
        }
        part.renameTo(new File(place, "result.json"));
    }

    private static void put(JSONObject json, String key, String value) {
        try {
            json.put(key, value);
        } catch (JSONException e) {
            throw new AssertionError(e); // a string under a name always can be put
        }
    }

    private String described(JSONObject row) {
        String way = row.optString("way");
        if (!row.optBoolean("ran")) {
            return getString(R.string.check_not, way, Texts.brief(row.optString("error")));
        }
        String words =
                getString(
                        R.string.check_row,
                        way,
                        row.optDouble("residual_psnr"),
                        row.optDouble("median_ms"));
        if (way.startsWith("gpu") && row.optInt("delegated") >= 0) {
            words +=
                    getString(
                            R.string.check_delegated,
                            row.optInt("delegated"),
                            row.optInt("operations"));
        }
        return words + (row.optBoolean("right") ? "\n" : getString(R.string.check_wrong));
    }

    private void add(Run of, String words) {
        main.post(
                () -> {
                    of.text.append(words);
                    if (of.screen != null) {
                        of.screen.show();
                    }
                });
    }

    private void show() {
        TextView text = findViewById(R.id.report);
        text.setText(run.text);
        boolean finished = run.json != null;
        findViewById(R.id.measuring).setVisibility(finished ? View.GONE : View.VISIBLE);
        findViewById(R.id.share_json).setEnabled(finished);
    }

    private void share() {
        Intent intent = new Intent(Intent.ACTION_SEND).setType("text/plain");
        intent.putExtra(Intent.EXTRA_TEXT, run.json);
        startActivity(Intent.createChooser(intent, getString(R.string.share)));
    }
}
