package org.kerasskd.demo;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotEquals;
import static org.junit.Assert.assertTrue;

import android.content.ContentValues;
import android.content.Intent;
import android.os.Bundle;
import android.provider.MediaStore;
import android.widget.SeekBar;
import android.widget.Switch;
import java.io.File;
import java.io.FileInputStream;
import java.nio.file.Files;
import org.junit.After;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.tensorflow.lite.gpu.GpuDelegate;

/** A person with the app: picks, waits, compares, saves, shares; and what can come in between. */
@RunWith(AppTestRunner.class)
public class RestoreTest {
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

    @Test
    public void pickRestoreSlideSave() throws Exception {
        MainActivity activity = phone.start();
        assertTrue(phone.isShown(R.id.start));
        phone.pick("photo.png");
        Result result = phone.restored();
        assertTrue(phone.isShown(R.id.result));
        assertFalse(phone.isShown(R.id.start));

        // At most one level from keras_skd.restore: two builds of the same kernels.
        Fixtures.assertEqual("fp16_photo.png", result, 1);
        int[] photo = Fixtures.pixels(Fixtures.file("photo.png"));
        assertTrue(Fixtures.difference(Fixtures.pixels(result.file), photo) > 20);

        String ran = phone.text(R.id.ran);
        assertTrue(ran, ran.matches("GPU, float16, (\\d+) of \\1 operations, \\d+ tiles, \\d+ ms "
                + "a tile, \\d+\\.\\d s in all\\."));
        assertEquals(Tiling.count(300, 257, new TilingTest.StandIn(tile())), result.tiles);

        SeekBar slider = activity.findViewById(R.id.slider);
        slider.setProgress(250);
        Phone.settle();

        phone.click(R.id.save);
        Phone.await(() -> phone.isShown(R.id.message));
        assertEquals(
                activity.getString(R.string.saved, result.name), phone.text(R.id.message));
        assertTrue(result.name.matches("photo_\\w+\\.png"));
        ContentValues row = phone.gallery.rows.get(1L);
        assertEquals("image/png", row.getAsString(MediaStore.MediaColumns.MIME_TYPE));
        assertEquals(0, (int) row.getAsInteger(MediaStore.MediaColumns.IS_PENDING));
        assertEquals(
                "Pictures/Keras SKD", row.getAsString(MediaStore.MediaColumns.RELATIVE_PATH));
        assertArrayEquals(
                Files.readAllBytes(result.file.toPath()),
                Files.readAllBytes(phone.gallery.file(1).toPath()));
        assertFalse("saved once", activity.findViewById(R.id.save).isEnabled());

        phone.click(R.id.again);
        assertTrue(phone.isShown(R.id.start));
        Phone.await(() -> Phone.kept().length == 0);
    }

    private static int tile() throws Exception {
        return (int) Math.sqrt(Fixtures.student("fp16").check().tile.length / 3);
    }

    @Test
    public void int8IsWithinThreeLevels() throws Exception {
        phone.start();
        Restorer.Request request =
                new Restorer.Request(
                        () -> new FileInputStream(Fixtures.file("photo.png")),
                        "photo.png",
                        Fixtures.student("int8"),
                        new ModelRunner.Options());
        phone.restorer().start(request);
        Result result = phone.restored();
        Fixtures.assertEqual("int8_photo.png", result, 3);
    }

    @Test
    public void whereTheGpuCannotTheCpuDoesAndTheScreenSaysWhy() throws Exception {
        GpuDelegate.behaviour = GpuDelegate.Behaviour.REFUSES_GRAPH;
        phone.send("photo.png");
        Result result = phone.restored();
        Fixtures.assertEqual("fp16_photo.png", result, 1);
        assertTrue(phone.text(R.id.ran).contains("CPU, float32"));
        assertTrue(phone.text(R.id.ran).contains("Mean calculation"));
    }

    @Test
    public void aWrongGpuIsRefusedForPictures() throws Exception {
        GpuDelegate.behaviour = GpuDelegate.Behaviour.WRONG;
        phone.send("photo.png");
        Result result = phone.restored();
        Fixtures.assertEqual("fp16_photo.png", result, 1);
        assertTrue(phone.text(R.id.ran).contains("wrongly"));
    }

    @Test
    public void aGpuThatGivesUpInTheMiddle() throws Exception {
        GpuDelegate.behaviour = GpuDelegate.Behaviour.FAILS_LATER;
        phone.send("photo.png");
        Result result = phone.restored();
        assertEquals(Execution.Device.CPU, result.execution.device);
        Fixtures.assertEqual("fp16_photo.png", result, 1);
        assertTrue(phone.text(R.id.ran).contains("Failed to run"));
    }

    @Test
    public void aPartialGraphIsSaid() throws Exception {
        GpuDelegate.planLength = 30;
        phone.send("photo.png");
        phone.restored();
        assertTrue(phone.text(R.id.ran).contains("left the other operations to the CPU"));
    }

    @Test
    public void theSwitchesCount() throws Exception {
        MainActivity activity = phone.start();
        ((Switch) activity.findViewById(R.id.use_float16)).setChecked(false);
        phone.pick("photo.png");
        phone.restored();
        assertFalse(GpuDelegate.precisionLossAllowed);
        assertTrue(phone.text(R.id.ran).contains("GPU, float32"));
        phone.click(R.id.again);
        ((Switch) activity.findViewById(R.id.use_gpu)).setChecked(false);
        phone.pick("photo.png");
        assertEquals(Execution.Device.CPU, phone.restored().execution.device);
    }

    @Test
    public void rotationInTheMiddle() throws Exception {
        phone.start();
        GpuDelegate.milliseconds = 150;
        phone.pick("photo.png");
        phone.tiles(1);
        MainActivity before = phone.activity();
        phone.controller.recreate();
        assertNotEquals(before, phone.activity());
        assertTrue(phone.isShown(R.id.progress));
        Result result = phone.restored();
        assertTrue(phone.isShown(R.id.result));
        Fixtures.assertEqual("fp16_photo.png", result, 1);
        phone.controller.recreate();
        assertTrue("the result too", phone.isShown(R.id.result));
    }

    @Test
    public void inTheBackgroundItGoesOn() throws Exception {
        phone.start();
        GpuDelegate.milliseconds = 150;
        phone.pick("photo.png");
        phone.tiles(1);
        phone.controller.pause().stop();
        phone.restored();
        phone.controller.start().resume();
        Phone.settle();
        assertTrue(phone.isShown(R.id.result));
    }

    @Test
    public void aResultOutlivesTheProcess() throws Exception {
        phone.start();
        phone.pick("photo.png");
        phone.restored();
        Bundle state = new Bundle();
        phone.controller.saveInstanceState(state);
        File folder = new File(phone.activity().getFilesDir(), "job");
        Restorer next = new Restorer(folder, Runnable::run);
        next.resume(Models.bundled(phone.activity().getAssets()), new ModelRunner.Options());
        assertEquals(Restorer.State.DONE, next.status().state);
        assertEquals(phone.restorer().status().result.name, next.status().result.name);
        assertEquals(
                phone.text(R.id.ran),
                Texts.ran(phone.activity().getResources(), next.status().result));
    }

    @Test
    public void aJobThatTheSystemEndedStartsAgain() throws Exception {
        phone.start();
        File folder = new File(phone.activity().getFilesDir(), "job-of-before");
        assertTrue(folder.mkdir());
        Files.copy(Fixtures.file("photo.png").toPath(), new File(folder, "source").toPath());
        Models.Entry model = Models.bundled(phone.activity().getAssets()).get(0);
        JobFile.store(
                folder, new Restorer.Request(null, "before.png", model, new ModelRunner.Options()));
        Restorer next = new Restorer(folder, Runnable::run);
        next.resume(Models.bundled(phone.activity().getAssets()), new ModelRunner.Options());
        Phone.await(() -> next.status().state == Restorer.State.DONE);
        assertEquals("before_" + model.task + ".png", next.status().result.name);
        next.clear();
        Phone.await(() -> !folder.exists());
    }

    @Test
    public void cancelLeavesNothingBehind() throws Exception {
        phone.start();
        GpuDelegate.milliseconds = 150;
        phone.pick("photo.png");
        phone.tiles(2);
        assertTrue(Phone.kept().length > 0);
        phone.click(R.id.cancel);
        assertTrue(phone.isShown(R.id.start));
        Phone.await(() -> Phone.kept().length == 0);
        assertEquals(Restorer.State.IDLE, phone.restorer().status().state);
        assertEquals("", phone.text(R.id.message));
        assertTrue(phone.gallery.rows.isEmpty());
        // And the app is as good as new.
        phone.pick("photo.png");
        phone.restored();
    }

    @Test
    public void aSecondPhotoReplacesTheFirst() throws Exception {
        phone.start();
        GpuDelegate.milliseconds = 150;
        phone.pick("photo.png");
        phone.tiles(1);
        Intent intent = new Intent(Intent.ACTION_SEND).setType("image/*");
        intent.putExtra(Intent.EXTRA_STREAM, Phone.offer("grey.png"));
        phone.controller.newIntent(intent);
        Result result = phone.restored();
        assertEquals(90 * 70, Fixtures.pixels(result.file).length);
    }
}
