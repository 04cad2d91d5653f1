package org.kerasskd.demo;

import android.content.Context;
import android.database.Cursor;
import android.net.Uri;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;

/** Where photographs come from. */
final class Sources {
    private Sources() {}

    /** A photograph that another app offers. */
    static Restorer.Opener of(Context context, Uri photo) {
        return () -> context.getContentResolver().openInputStream(photo);
    }

    /** A file of this app that is deleted once it has been read. */
    static Restorer.Opener once(File file) {
        return () ->
                new FileInputStream(file) {
                    @Override
                    public void close() throws IOException {
                        super.close();
                        file.delete();
                    }
                };
    }

    /** What the photograph is called, or {@code unnamed} where the other app does not tell. */
    static String name(Context context, Uri photo, String unnamed) {
        String[] columns = {OpenableColumns.DISPLAY_NAME};
        String name = null;
        try (Cursor cursor = context.getContentResolver().query(photo, columns, null, null, null)) {
            if (cursor != null && cursor.moveToFirst()) {
                name = cursor.getString(0);
            }
        } catch (RuntimeException e) {
            return unnamed; // whatever the other app throws: a name is no more than polite
        }
        String plain = name == null ? "" : name.replaceAll("[\\p{Cntrl}/\\\\:*?\"<>|]", "_").trim();
        return plain.isEmpty() ? unnamed : plain;
    }
}
