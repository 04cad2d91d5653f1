package org.kerasskd.demo;

import android.content.ContentProvider;
import android.content.ContentValues;
import android.content.Context;
import android.content.UriMatcher;
import android.database.Cursor;
import android.database.MatrixCursor;
import android.net.Uri;
import android.os.ParcelFileDescriptor;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileNotFoundException;

/**
 * Lets the camera write its photograph, and other apps read the restored one, each only where this
 * app grants it.
 */
public final class PhotoProvider extends ContentProvider {
    static final String AUTHORITY = "org.kerasskd.demo.photos";

    private static final int CAMERA = 1;
    private static final int RESULT = 2;
    private static final UriMatcher MATCHER = new UriMatcher(UriMatcher.NO_MATCH);

    static {
        MATCHER.addURI(AUTHORITY, "camera", CAMERA);
        MATCHER.addURI(AUTHORITY, "result/*", RESULT);
    }

    /** Where the camera writes. */
    static Uri camera() {
        return Uri.parse("content://" + AUTHORITY + "/camera");
    }

    static File cameraFile(Context context) {
        return new File(context.getCacheDir(), "camera.jpg");
    }

    /** The restored photograph, under the name that it has in the gallery. */
    static Uri result(Result result) {
        return Uri.parse("content://" + AUTHORITY + "/result").buildUpon()
                .appendPath(result.name)
                .build();
    }

    @Override
    public boolean onCreate() {
        return true;
    }

    @Override
    public ParcelFileDescriptor openFile(Uri uri, String mode) throws FileNotFoundException {
        if (MATCHER.match(uri) == CAMERA) {
            return ParcelFileDescriptor.open(
                    cameraFile(getContext()), ParcelFileDescriptor.parseMode(mode));
        }
        if (!"r".equals(mode)) {
            throw new FileNotFoundException(uri + " is read only");
        }
        return ParcelFileDescriptor.open(shared(uri).file, ParcelFileDescriptor.MODE_READ_ONLY);
    }

    private Result shared(Uri uri) throws FileNotFoundException {
        Result result = ((DemoApplication) getContext().getApplicationContext()).restorer().status().result;
        if (MATCHER.match(uri) != RESULT
                || result == null
                || !result.name.equals(uri.getLastPathSegment())) {
            throw new FileNotFoundException(uri.toString());
        }
        return result;
    }

    @Override
    public String getType(Uri uri) {
        try {
            return MATCHER.match(uri) == CAMERA ? "image/jpeg" : shared(uri).mimeType;
        } catch (FileNotFoundException e) {
            return null;
        }
    }

    @Override
    public Cursor query(
            Uri uri, String[] projection, String selection, String[] arguments, String order) {
        String[] all = {OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE};
        MatrixCursor cursor = new MatrixCursor(projection == null ? all : projection);
        try {
            Result result = shared(uri);
            MatrixCursor.RowBuilder row = cursor.newRow();
            for (String column : cursor.getColumnNames()) {
                if (column.equals(OpenableColumns.DISPLAY_NAME)) {
                    row.add(result.name);
                } else {
                    row.add(column.equals(OpenableColumns.SIZE) ? result.file.length() : null);
                }
            }
        } catch (FileNotFoundException e) {
            return cursor; // without a row
        }
        return cursor;
    }

    @Override
    public Uri insert(Uri uri, ContentValues values) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int delete(Uri uri, String selection, String[] arguments) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int update(Uri uri, ContentValues values, String selection, String[] arguments) {
        throw new UnsupportedOperationException();
    }
}
