package org.kerasskd.demo;

import android.Manifest;
import android.content.ContentResolver;
import android.content.ContentValues;
import android.content.Context;
import android.content.pm.PackageManager;
import android.media.MediaScannerConnection;
import android.net.Uri;
import android.os.Build;
import android.os.Environment;
import android.provider.MediaStore;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;

/** Saves pictures where the gallery shows them. */
final class Gallery {
    private static final String ALBUM = "Keras SKD";

    private Gallery() {}

    /** Whether the user must be asked first, as on Android before 10. */
    static boolean needsPermission(Context context) {
        return Build.VERSION.SDK_INT < 29
                && context.checkSelfPermission(Manifest.permission.WRITE_EXTERNAL_STORAGE)
                        != PackageManager.PERMISSION_GRANTED;
    }

    /**
     * Copies a result into the gallery. Where that fails, nothing of it is left there.
     *
     * @throws PhotoException if there is no space or no permission
     */
    static void save(Context context, Result result) throws PhotoException {
        try {
            if (Build.VERSION.SDK_INT >= 29) {
                insert(context.getContentResolver(), result);
            } else {
                write(context, result);
            }
        } catch (IOException | RuntimeException e) {
            PhotoException known = PhotoException.of(e);
            boolean plain = known.kind == PhotoException.Kind.NO_SPACE
                    || known.kind == PhotoException.Kind.NO_PERMISSION;
            throw plain ? known : new PhotoException(PhotoException.Kind.GALLERY, e);
        }
    }

    private static void insert(ContentResolver resolver, Result result) throws IOException {
        ContentValues values = new ContentValues();
        values.put(MediaStore.MediaColumns.DISPLAY_NAME, result.name);
        values.put(MediaStore.MediaColumns.MIME_TYPE, result.mimeType);
        String folder = Environment.DIRECTORY_PICTURES + File.separator + ALBUM;
        Uri picture = NewerApi.insertPending(resolver, values, folder);
        if (picture == null) {
            throw new IOException("the gallery gives no place");
        }
        try (OutputStream out = resolver.openOutputStream(picture)) {
            copy(result.file, out);
        } catch (IOException | RuntimeException e) {
            resolver.delete(picture, null, null);
            throw e;
        }
        NewerApi.publish(resolver, picture);
    }

    // The folder that everyone sees has no other name before Android 10.
    @SuppressWarnings("deprecation")
    private static void write(Context context, Result result) throws IOException {
        if (needsPermission(context)) {
            throw new PhotoException(PhotoException.Kind.NO_PERMISSION, "storage");
        }
        File pictures =
                Environment.getExternalStoragePublicDirectory(Environment.DIRECTORY_PICTURES);
        File folder = new File(pictures, ALBUM);
        folder.mkdirs();
        File target = free(folder, result.name);
        try (OutputStream out = new FileOutputStream(target)) {
            copy(result.file, out);
        } catch (IOException e) {
            target.delete();
            throw e;
        }
        MediaScannerConnection.scanFile(
                context, new String[] {target.getPath()}, new String[] {result.mimeType}, null);
    }

    /** The name, or with a number where there is such a file. */
    private static File free(File folder, String name) {
        File target = new File(folder, name);
        int dot = name.lastIndexOf('.');
        for (int i = 1; target.exists(); i++) {
            target = new File(folder, name.substring(0, dot) + "_" + i + name.substring(dot));
        }
        return target;
    }

    private static void copy(File file, OutputStream out) throws IOException {
        if (out == null) {
            throw new IOException("the gallery does not open its place");
        }
        try (InputStream in = new FileInputStream(file)) {
            byte[] buffer = new byte[1 << 16];
            for (int n; (n = in.read(buffer)) > 0; ) {
                out.write(buffer, 0, n);
            }
        }
    }
}
