package org.kerasskd.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.Activity;
import android.content.Intent;
import android.net.Uri;
import android.os.ParcelFileDescriptor;
import android.provider.MediaStore;
import android.provider.OpenableColumns;
import java.io.OutputStream;
import org.junit.After;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.Robolectric;
import org.robolectric.shadows.ShadowActivity;
import org.tensorflow.lite.gpu.GpuDelegate;

/** Photographs from the camera, results to other apps and to the gallery. */
@RunWith(AppTestRunner.class)
public class HandOverTest {
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
