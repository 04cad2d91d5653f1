package org.kerasskd.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import android.app.Activity;
import android.graphics.Bitmap;
import android.graphics.Canvas;
import android.view.MotionEvent;
import android.view.View;
import android.view.ViewGroup;
import android.widget.Button;
import android.widget.CompoundButton;
import android.widget.SeekBar;
import android.widget.TextView;
import java.io.File;
import java.io.FileOutputStream;
import java.util.ArrayList;
import java.util.List;
import org.junit.After;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.Robolectric;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.annotation.Config;
import org.tensorflow.lite.gpu.GpuDelegate;

/** Draws every screen into {@code build/screens}; those of docs/android are chosen from there. */
@RunWith(AppTestRunner.class)
@Config(qualifiers = "w411dp-h731dp-xhdpi")
public class ScreensTest {
    private Phone phone;

    @Before
    public void reset() {
        GpuDelegate.reset();
        phone = new Phone();
    }

    @After
    public void end() throws Exception {
        phone.restorer().clear();
        Phone.await(() -> Phone.kept().length == 0);
    }

    private static Bitmap draw(Activity activity, String name) throws Exception {
        Phone.settle();
        View root = activity.getWindow().getDecorView();
        Bitmap bitmap =
                Bitmap.createBitmap(root.getWidth(), root.getHeight(), Bitmap.Config.ARGB_8888);
        root.draw(new Canvas(bitmap));
        File folder = new File(System.getProperty("app.build"), "screens");
        folder.mkdirs();
        try (FileOutputStream out = new FileOutputStream(new File(folder, name + ".png"))) {
            bitmap.compress(Bitmap.CompressFormat.PNG, 100, out);
        }
        return bitmap;
    }

    /** What is touched is large enough, and what is seen is told. */
    private static void assertAccessible(View root) {
        for (View view : all(root)) {
            if (!view.isShown() || !view.isClickable() && !(view instanceof SeekBar)) {
                continue;
            }
            float density = view.getResources().getDisplayMetrics().density;
            boolean told =
                    view.getContentDescription() != null
                            || view instanceof TextView && ((TextView) view).getText().length() > 0;
            if (view instanceof Button || view instanceof SeekBar) {
                assertTrue(view + " is told", told);
                assertTrue(view + " is high", view.getHeight() >= 48 * density - 1);
            }
        }
    }

    private static List<View> all(View root) {
        List<View> views = new ArrayList<>(List.of(root));
        if (root instanceof ViewGroup) {
            for (int i = 0; i < ((ViewGroup) root).getChildCount(); i++) {
                views.addAll(all(((ViewGroup) root).getChildAt(i)));
            }
        }
        return views;
    }

    private void every(String suffix) throws Exception {
        phone.start();
        assertAccessible(phone.activity().getWindow().getDecorView());
        draw(phone.activity(), "start" + suffix);
        GpuDelegate.milliseconds = 200;
        phone.pick("scene.jpg");
        phone.tiles(5);
        assertAccessible(phone.activity().getWindow().getDecorView());
        draw(phone.activity(), "progress" + suffix);
        GpuDelegate.milliseconds = 0;
        phone.restored();
        CompareView compare = phone.activity().findViewById(R.id.compare);
        Phone.await(compare::hasPictures);
        assertAccessible(phone.activity().getWindow().getDecorView());
        draw(phone.activity(), "result" + suffix);
    }

    @Test
    public void light() throws Exception {
        every("");
        CompareView compare = phone.activity().findViewById(R.id.compare);
        compare.zoom(4, compare.getWidth() * 0.5f, compare.getHeight() * 0.4f);
        draw(phone.activity(), "zoomed");
        phone.click(R.id.save);
        Phone.await(() -> phone.isShown(R.id.message));
        draw(phone.activity(), "saved");
        phone.send("photo.heic");
        phone.finish();
        draw(phone.activity(), "error");
    }

    @Test
    @Config(qualifiers = "de-w411dp-h731dp-night-xhdpi")
    public void darkAndGerman() throws Exception {
        GpuDelegate.behaviour = GpuDelegate.Behaviour.REFUSES_GRAPH;
        every("_dark_german");
        assertEquals("Speichern", phone.text(R.id.save));
    }

    @Test
    @Config(qualifiers = "w731dp-h411dp-land-xhdpi")
    public void wide() throws Exception {
        phone.send("scene.jpg");
        phone.restored();
        CompareView compare = phone.activity().findViewById(R.id.compare);
        Phone.await(compare::hasPictures);
        draw(phone.activity(), "result_wide");
    }

    @Test
    public void selfCheck() throws Exception {
        Activity activity = Robolectric.buildActivity(SelfCheckActivity.class).setup().get();
        Phone.await(() -> activity.findViewById(R.id.share_json).isEnabled());
        assertAccessible(activity.getWindow().getDecorView());
        draw(activity, "self_check");
    }

    /** The line moves with the finger, and the picture's two halves are different. */
    @Test
    public void theLineParts() throws Exception {
        phone.send("scene.jpg");
        phone.restored();
        CompareView compare = phone.activity().findViewById(R.id.compare);
        Phone.await(compare::hasPictures);
        SeekBar slider = phone.activity().findViewById(R.id.slider);
        touch(compare, MotionEvent.ACTION_DOWN, compare.getWidth() / 2f);
        touch(compare, MotionEvent.ACTION_MOVE, compare.getWidth() * 0.9f);
        touch(compare, MotionEvent.ACTION_UP, compare.getWidth() * 0.9f);
        assertEquals(900, slider.getProgress(), 2);
        Bitmap before = draw(phone.activity(), "line_right");
        slider.setProgress(0);
        Bitmap after = draw(phone.activity(), "line_left");
        int x = compare.getWidth() / 4;
        int[] place = new int[2];
        compare.getLocationInWindow(place);
        int different = 0;
        for (int y = 0; y < compare.getHeight(); y++) {
            int at = place[1] + y;
            different += before.getPixel(x, at) == after.getPixel(x, at) ? 0 : 1;
        }
        assertTrue(different > 100);
        // Two fingers enlarge; then one moves the picture and leaves the line.
        compare.zoom(3, 10, 10);
        assertEquals(3, compare.scale(), 0);
        touch(compare, MotionEvent.ACTION_DOWN, compare.getWidth() / 2f);
        touch(compare, MotionEvent.ACTION_MOVE, compare.getWidth() * 0.7f);
        assertEquals(0, slider.getProgress());
        compare.zoom(0.01f, 10, 10);
        assertEquals(1, compare.scale(), 0);
    }

    private static void touch(View view, int action, float x) {
        MotionEvent event = MotionEvent.obtain(0, 0, action, x, view.getHeight() / 2f, 0);
        view.dispatchTouchEvent(event);
        event.recycle();
    }

    @Test
    public void everyTaskHasItsButton() {
        MainActivity activity = phone.start();
        List<Models.Entry> models = Models.bundled(RuntimeEnvironment.getApplication().getAssets());
        int buttons = 0;
        for (View view : all(activity.findViewById(R.id.tasks))) {
            buttons += view instanceof CompoundButton ? 1 : 0;
        }
        assertEquals(models.size(), buttons);
    }
}
