package org.kerasskd.demo;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotEquals;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.Activity;
import android.content.ContentValues;
import android.content.Intent;
import android.net.Uri;
import android.os.Bundle;
import android.os.ParcelFileDescriptor;
import android.provider.MediaStore;
import android.provider.OpenableColumns;
import android.widget.SeekBar;
import android.widget.Switch;
import java.io.File;
import java.io.FileInputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import org.junit.After;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.Robolectric;
import org.robolectric.shadows.ShadowActivity;
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

    @Test
    public void theCameraTakesOne() throws Exception {
        MainActivity activity = phone.start();
        phone.click(R.id.camera);
        ShadowActivity.IntentForResult camera = shadowOf(activity).getNextStartedActivityForResult();
        assertEquals(MediaStore.ACTION_IMAGE_CAPTURE, camera.intent.getAction());
        Uri place = camera.intent.getParcelableExtra(MediaStore.EXTRA_OUTPUT);
        try (ParcelFileDescriptor file =
                        activity.getContentResolver().openFileDescriptor(place, "w");
                OutputStream out = new ParcelFileDescriptor.AutoCloseOutputStream(file)) {
            out.write(Fixtures.bytes("photo.jpg"));
        }
        shadowOf(activity).receiveResult(camera.intent, Activity.RESULT_OK, null);
        phone.restored();
        assertFalse(PhotoProvider.cameraFile(activity).exists());
        phone.click(R.id.again);
        phone.click(R.id.camera);
        camera = shadowOf(activity).getNextStartedActivityForResult();
        shadowOf(activity).receiveResult(camera.intent, Activity.RESULT_CANCELED, null);
        assertTrue(phone.isShown(R.id.start));
    }

    @Test
    public void theResultIsShared() throws Exception {
        MainActivity activity = phone.send("photo.jpg");
        Result result = phone.restored();
        phone.click(R.id.share);
        Intent chooser = shadowOf(activity).getNextStartedActivity();
        Intent send = chooser.getParcelableExtra(Intent.EXTRA_INTENT);
        assertEquals("image/jpeg", send.getType());
        assertTrue((send.getFlags() & Intent.FLAG_GRANT_READ_URI_PERMISSION) != 0);
        Uri picture = send.getParcelableExtra(Intent.EXTRA_STREAM);
        PhotoProvider provider =
                Robolectric.buildContentProvider(PhotoProvider.class)
                        .create(PhotoProvider.AUTHORITY)
                        .get();
        try (ParcelFileDescriptor file = provider.openFile(picture, "r")) {
            assertEquals(result.file.length(), file.getStatSize());
        }
        assertEquals("image/jpeg", provider.getType(picture));
        try (android.database.Cursor cursor = provider.query(picture, null, null, null, null)) {
            assertTrue(cursor.moveToFirst());
            int column = cursor.getColumnIndex(OpenableColumns.DISPLAY_NAME);
            assertEquals(result.name, cursor.getString(column));
        }
        Uri other = Uri.parse("content://" + PhotoProvider.AUTHORITY + "/result/other.jpg");
        assertNull(provider.getType(other));
        assertNotNull(result.name);
    }

    @Test
    public void aFullOrUnwillingGalleryIsSaid() throws Exception {
        MainActivity activity = phone.send("photo.png");
        phone.restored();
        phone.gallery.full = true;
        phone.click(R.id.save);
        Phone.await(() -> phone.isShown(R.id.message));
        assertEquals(activity.getString(R.string.error_no_space), phone.text(R.id.message));
        assertTrue("nothing is left there", phone.gallery.rows.isEmpty());
        phone.gallery.full = false;
        phone.gallery.refuses = true;
        Phone.await(() -> activity.findViewById(R.id.save).isEnabled());
        phone.click(R.id.save);
        String words = activity.getString(R.string.error_gallery);
        Phone.await(() -> phone.text(R.id.message).equals(words));
    }
}
