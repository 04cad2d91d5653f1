package org.kerasskd.demo;

import static org.junit.Assert.assertEquals;
import static org.robolectric.Shadows.shadowOf;

import android.app.Activity;
import android.content.ContentProvider;
import android.content.ContentValues;
import android.content.Intent;
import android.database.Cursor;
import android.net.Uri;
import android.os.Looper;
import android.os.ParcelFileDescriptor;
import android.view.View;
import android.widget.TextView;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.TreeMap;
import org.robolectric.Robolectric;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.shadows.ShadowActivity;

/** A phone with the app on it, in the hands of a test. */
final class Phone {
    /** The gallery: keeps what is saved in a folder. */
    public static final class FakeGallery extends ContentProvider {
        final TreeMap<Long, ContentValues> rows = new TreeMap<>();
        boolean full;
        boolean refuses;

        File file(long id) {
            return new File(getContext().getCacheDir(), "gallery-" + id);
        }

        @Override
        public boolean onCreate() {
            return true;
        }

        @Override
        public Uri insert(Uri uri, ContentValues values) {
            if (refuses) {
                return null;
            }
            long id = rows.size() + 1;
            rows.put(id, new ContentValues(values));
            return uri.buildUpon().appendPath(String.valueOf(id)).build();
        }

        @Override
        public ParcelFileDescriptor openFile(Uri uri, String mode) throws FileNotFoundException {
            if (full) {
                throw new FileNotFoundException("open failed: ENOSPC (No space left on device)");
            }
            return ParcelFileDescriptor.open(
                    file(Long.parseLong(uri.getLastPathSegment())),
                    ParcelFileDescriptor.parseMode(mode));
        }

        @Override
        public int update(Uri uri, ContentValues values, String where, String[] arguments) {
            rows.get(Long.parseLong(uri.getLastPathSegment())).putAll(values);
            return 1;
        }

        @Override
        public int delete(Uri uri, String where, String[] arguments) {
            rows.remove(Long.parseLong(uri.getLastPathSegment()));
            return 1;
        }

        @Override
        public Cursor query(Uri uri, String[] columns, String where, String[] of, String order) {
            return null;
        }

        @Override
        public String getType(Uri uri) {
            return null;
        }
    }

    final FakeGallery gallery =
            Robolectric.buildContentProvider(FakeGallery.class).create("media").get();
    ActivityController<MainActivity> controller;

    /** Starts the app as its icon does. */
    MainActivity start() {
        controller = Robolectric.buildActivity(MainActivity.class).setup();
        return controller.get();
    }

    /** Starts the app as another does that sends a photograph. */
    MainActivity send(String fixture) {
        Intent intent = new Intent(Intent.ACTION_SEND).setType("image/*");
        intent.putExtra(Intent.EXTRA_STREAM, offer(fixture));
        controller = Robolectric.buildActivity(MainActivity.class, intent).setup();
        return controller.get();
    }

    MainActivity activity() {
        return controller.get();
    }

    Restorer restorer() {
        return ((DemoApplication) RuntimeEnvironment.getApplication()).restorer();
    }

    /** Offers a fixture as the photo picker does. */
    static Uri offer(String fixture) {
        Uri uri = Uri.parse("content://picker/" + fixture);
        shadowOf(RuntimeEnvironment.getApplication().getContentResolver())
                .registerInputStreamSupplier(
                        uri,
                        () -> {
                            try {
                                return new FileInputStream(Fixtures.file(fixture));
                            } catch (IOException e) {
                                throw new UncheckedIOException(e);
                            }
                        });
        return uri;
    }

    /** Picks a photograph on the screen. */
    void pick(String fixture) {
        click(R.id.pick);
        ShadowActivity.IntentForResult picker = shadowOf(activity()).getNextStartedActivityForResult();
        assertEquals("image/*", picker.intent.getType());
        shadowOf(activity())
                .receiveResult(
                        picker.intent, Activity.RESULT_OK, new Intent().setData(offer(fixture)));
    }

    /** Waits till the restorer has done. */
    Restorer.Status finish() throws InterruptedException {
        long end = System.nanoTime() + 120_000_000_000L;
        while (restorer().status().state == Restorer.State.RUNNING && System.nanoTime() < end) {
            Thread.sleep(5);
            settle();
        }
        settle();
        return restorer().status();
    }

    /** Waits for the result, which is to be there. */
    Result restored() throws InterruptedException {
        Restorer.Status status = finish();
        if (status.state != Restorer.State.DONE) {
            throw new AssertionError("" + status.state, status.error);
        }
        return status.result;
    }

    /** Waits till at least so many tiles are done. */
    void tiles(int count) throws InterruptedException {
        while (restorer().status().done < count) {
            assertEquals(Restorer.State.RUNNING, restorer().status().state);
            Thread.sleep(2);
        }
        settle();
    }

    /** Lets threads and the screen come to rest. */
    static void settle() {
        shadowOf(Looper.getMainLooper()).idle();
    }

    /** Waits till a condition holds on the screen. */
    static void await(java.util.function.BooleanSupplier condition) throws InterruptedException {
        long end = System.nanoTime() + 60_000_000_000L;
        while (!condition.getAsBoolean() && System.nanoTime() < end) {
            Thread.sleep(5);
            settle();
        }
        assertEquals(true, condition.getAsBoolean());
    }

    void click(int id) {
        activity().findViewById(id).performClick();
        settle();
    }

    boolean isShown(int id) {
        return activity().findViewById(id).isShown();
    }

    String text(int id) {
        View view = activity().findViewById(id);
        return view.isShown() ? ((TextView) view).getText().toString() : "";
    }

    /** Files that the app keeps for its job. */
    static String[] kept() {
        File folder = new File(RuntimeEnvironment.getApplication().getFilesDir(), "job");
        String[] files = folder.list();
        return files == null ? new String[0] : files;
    }
}
