package org.kerasskd.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.content.Intent;
import android.widget.TextView;
import java.io.File;
import java.nio.file.Files;
import org.json.JSONArray;
import org.json.JSONObject;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.Robolectric;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.tensorflow.lite.gpu.GpuDelegate;

/** The self-check, on the screen and from a desk. */
@RunWith(AppTestRunner.class)
public class SelfCheckTest {
    @Before
    public void reset() {
        GpuDelegate.reset();
    }

    /** Runs it to its end; returns what would be shared. */
    private static JSONObject run(ActivityController<SelfCheckActivity> controller)
            throws Exception {
        SelfCheckActivity activity = controller.setup().get();
        Phone.await(() -> activity.findViewById(R.id.share_json).isEnabled());
        activity.findViewById(R.id.share_json).performClick();
        Intent chooser = shadowOf(activity).getNextStartedActivity();
        Intent send = chooser.getParcelableExtra(Intent.EXTRA_INTENT);
        return new JSONObject(send.getStringExtra(Intent.EXTRA_TEXT));
    }

    private static JSONArray rows(JSONObject report) throws Exception {
        return report.getJSONArray("reports").getJSONObject(0).getJSONArray("results");
    }

    @Test
    public void everyBundledStudentIsMeasured() throws Exception {
        ActivityController<SelfCheckActivity> controller =
                Robolectric.buildActivity(SelfCheckActivity.class);
        JSONObject report = run(controller);
        int students = Models.bundled(RuntimeEnvironment.getApplication().getAssets()).size();
        assertEquals(students, report.getJSONArray("reports").length());
        for (int i = 0; i < students; i++) {
            JSONObject one = report.getJSONArray("reports").getJSONObject(i);
            assertEquals(3, one.getJSONArray("results").length());
            assertEquals(20, one.getInt("runs"));
            for (int k = 0; k < 3; k++) {
                JSONObject row = one.getJSONArray("results").getJSONObject(k);
                assertTrue(row.getBoolean("ran"));
                assertTrue(row.getBoolean("right"));
                assertTrue(row.getDouble("residual_psnr") > 60);
                assertTrue(row.getDouble("median_ms") > 0);
            }
        }
        JSONObject first = report.getJSONArray("reports").getJSONObject(0);
        for (String key : new String[] {"phone", "android", "chip", "gpu_driver", "sha256"}) {
            assertTrue(key, first.has(key));
        }
        TextView text = controller.get().findViewById(R.id.report);
        assertTrue(text.getText().toString(), text.getText().toString().contains("gpu float16: "));
        controller.recreate();
        text = controller.get().findViewById(R.id.report);
        assertTrue("kept over rotation", text.getText().toString().contains("cpu float32: "));
    }

    @Test
    public void aWrongGpuIsCalledWrong() throws Exception {
        GpuDelegate.behaviour = GpuDelegate.Behaviour.WRONG;
        JSONArray rows = rows(run(Robolectric.buildActivity(SelfCheckActivity.class)));
        assertFalse(rows.getJSONObject(0).getBoolean("right"));
        assertFalse(rows.getJSONObject(1).getBoolean("right"));
        assertTrue(rows.getJSONObject(2).getBoolean("right"));
    }

    @Test
    public void aPhoneWithoutAGpu() throws Exception {
        GpuDelegate.behaviour = GpuDelegate.Behaviour.REFUSES_GRAPH;
        JSONArray rows = rows(run(Robolectric.buildActivity(SelfCheckActivity.class)));
        assertFalse(rows.getJSONObject(0).getBoolean("ran"));
        assertTrue(rows.getJSONObject(0).getString("error").contains("Mean calculation"));
        assertTrue(rows.getJSONObject(2).getBoolean("ran"));
    }

    private static File folder(String name) {
        File all = new File(RuntimeEnvironment.getApplication().getFilesDir(), "selfcheck");
        return new File(all, name);
    }

    private static ActivityController<SelfCheckActivity> fromTheDesk(String folder) {
        Intent intent = new Intent().putExtra(SelfCheckActivity.FOLDER, folder);
        return Robolectric.buildActivity(SelfCheckActivity.class, intent);
    }

    @Test
    public void aStudentFromTheDesk() throws Exception {
        File folder = folder("run-1");
        assertTrue(folder.mkdirs());
        for (File file : Fixtures.file("int8").listFiles()) {
            Files.copy(file.toPath(), new File(folder, file.getName()).toPath());
        }
        run(fromTheDesk("run-1"));
        String json = Files.readString(new File(folder, "result.json").toPath());
        JSONObject report = new JSONObject(json).getJSONArray("reports").getJSONObject(0);
        assertEquals("int8", report.getString("scheme"));
        assertTrue(report.getJSONArray("results").getJSONObject(2).getBoolean("right"));
    }

    @Test
    public void whatIsWrongReachesTheDesk() throws Exception {
        File folder = folder("run-2");
        assertTrue(folder.mkdirs());
        Files.writeString(new File(folder, "models.json").toPath(), "{}");
        run(fromTheDesk("run-2"));
        String json = Files.readString(new File(folder, "result.json").toPath());
        assertTrue(json, new JSONObject(json).getString("error").contains("sha256"));
    }

    @Test
    public void otherAppsReachNoOtherFolder() throws Exception {
        for (String name : new String[] {"../job", "..", "a/b", ""}) {
            JSONObject report = run(fromTheDesk(name));
            assertTrue(name, report.getString("error").contains("not the name of a folder"));
        }
    }
}
