package org.kerasskd.demo;

import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.BitmapRegionDecoder;
import android.graphics.Rect;
import java.io.File;
import java.io.IOException;

/** One picture as the screen shows it: small as a whole, sharp where it is looked at. */
final class Picture {
    /** The whole picture has at most this many pixels on its longer side. */
    private static final int LONGEST = 1600;

    final int width;
    final int height;
    /** The whole picture, reduced by a power of two. */
    final Bitmap small;

    private final BitmapRegionDecoder regions;

    /** A part of the picture in more detail. */
    static final class Detail {
        final Bitmap bitmap;
        /** Where it lies, in pixels as stored. */
        final Rect place;

        Detail(Bitmap bitmap, Rect place) {
            this.bitmap = bitmap;
            this.place = place;
        }
    }

    /** Decodes a file; not for the main thread. */
    Picture(File file) throws IOException {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inJustDecodeBounds = true;
        BitmapFactory.decodeFile(file.getPath(), options);
        width = options.outWidth;
        height = options.outHeight;
        options.inJustDecodeBounds = false;
        options.inSampleSize = 1;
        while (Math.max(width, height) / options.inSampleSize > LONGEST) {
            options.inSampleSize *= 2;
        }
        small = BitmapFactory.decodeFile(file.getPath(), options);
        if (small == null) {
            throw new PhotoException(PhotoException.Kind.CORRUPT, file.getName());
        }
        regions = small.getWidth() < width ? decoder(file) : null;
    }

    private static BitmapRegionDecoder decoder(File file) {
        try {
            return BitmapRegionDecoder.newInstance(file.getPath(), false);
        } catch (IOException e) {
            return null; // then the small picture has to do
        }
    }

    /** Whether there is more detail than in the small picture. */
    boolean hasDetail() {
        return regions != null;
    }

    /**
     * Decodes a part; not for the main thread.
     *
     * @param place in pixels as stored
     * @param sample every how many pixels, a power of two
     * @return null if it cannot be had
     */
    Detail detail(Rect place, int sample) {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inSampleSize = sample;
        try {
            Bitmap bitmap = regions.decodeRegion(place, options);
            return bitmap == null ? null : new Detail(bitmap, place);
        } catch (RuntimeException | OutOfMemoryError e) {
            return null;
        }
    }
}
