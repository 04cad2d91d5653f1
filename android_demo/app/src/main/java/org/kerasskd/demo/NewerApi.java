package org.kerasskd.demo;

import android.content.ContentResolver;
import android.content.ContentValues;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.ColorSpace;
import android.net.Uri;
import android.os.Build;
import android.provider.MediaStore;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;

/** Calls that API level 24 lacks, in one place; each is made only where SDK_INT allows it. */
final class NewerApi {
    /** Tells the check of API levels that the caller has looked at SDK_INT. */
    @Retention(RetentionPolicy.CLASS)
    @interface Guarded {}

    private NewerApi() {}

    /** Asks the decoder for sRGB instead of the file's own colours; before 26 it knows no other. */
    @Guarded
    static void preferSrgb(BitmapFactory.Options options) {
        if (Build.VERSION.SDK_INT >= 26) {
            options.inPreferredColorSpace = ColorSpace.get(ColorSpace.Named.SRGB);
        }
    }

    /** Whether the decoder converted to sRGB; before 26 it leaves colours as they are. */
    @Guarded
    static boolean isSrgb(Bitmap bitmap) {
        if (Build.VERSION.SDK_INT < 26) {
            return false;
        }
        return ColorSpace.get(ColorSpace.Named.SRGB).equals(bitmap.getColorSpace());
    }

    /** Announces a picture to the gallery, hidden until {@link #publish}; before 29 null. */
    @Guarded
    static Uri insertPending(ContentResolver resolver, ContentValues values, String folder) {
        if (Build.VERSION.SDK_INT < 29) {
            return null;
        }
        values.put(MediaStore.MediaColumns.RELATIVE_PATH, folder);
        values.put(MediaStore.MediaColumns.IS_PENDING, 1);
        return resolver.insert(
                MediaStore.Images.Media.getContentUri(MediaStore.VOLUME_EXTERNAL_PRIMARY), values);
    }

    /** Shows a picture in the gallery that was hidden till now. */
    @Guarded
    static void publish(ContentResolver resolver, Uri picture) {
        if (Build.VERSION.SDK_INT >= 29) {
            ContentValues values = new ContentValues();
            values.put(MediaStore.MediaColumns.IS_PENDING, 0);
            resolver.update(picture, values, null, null);
        }
    }

    /** The chip's maker and name; empty where the phone does not tell. */
    @Guarded
    static String chip() {
        if (Build.VERSION.SDK_INT < 31) {
            return Build.HARDWARE;
        }
        return Build.SOC_MANUFACTURER + " " + Build.SOC_MODEL;
    }
}
