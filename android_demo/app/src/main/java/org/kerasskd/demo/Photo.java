package org.kerasskd.demo;

import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.BitmapRegionDecoder;
import android.graphics.Rect;
import android.media.ExifInterface;
import java.io.Closeable;
import java.io.File;
import java.io.IOException;
import java.nio.IntBuffer;

/**
 * A photograph's pixels as they lie in the file (the orientation is kept beside them, not applied),
 * read by bands of rows: 50 megapixels never are in memory together.
 */
final class Photo implements Tiling.Source, Closeable {
    /** More is taken for a decompression bomb, as keras_skd does. */
    static final long MOST_PIXELS = 100_000_000;
    /**
     * Pixels that are decoded at a time. Decoders start from the top for every band, so that bands
     * of one row of tiles would decode a large photograph twenty times.
     */
    private static final int BAND_PIXELS = 8_000_000;
    /** Largest photograph of a kind that is decoded only as a whole. */
    private static final int WHOLE_PIXELS = 16_000_000;

    final PhotoHeader header;
    final boolean hasAlpha;
    /** EXIF orientation, 1 to 8. */
    final int orientation;
    /** The file's colour profile if the pixels are in it; null if they are sRGB. */
    final byte[] profile;

    private final int width;
    private final int height;
    private final BitmapRegionDecoder regions;
    private Bitmap whole;
    private int[] band = new int[0];
    private int bandFirst;
    private int bandRows;
    /** How colours lie in memory: on phones red comes first, on a computer it may be blue. */
    private final boolean redIsLowest;

    /**
     * Opens a file.
     *
     * @throws PhotoException if it is no photograph that can be restored
     */
    Photo(File file) throws IOException {
        header = PhotoHeader.read(file);
        BitmapFactory.Options bounds = new BitmapFactory.Options();
        bounds.inJustDecodeBounds = true;
        BitmapFactory.decodeFile(file.getPath(), bounds);
        width = bounds.outWidth;
        height = bounds.outHeight;
        if (width <= 0 || height <= 0) {
            throw new PhotoException(unknown(header), file.getName());
        }
        if (!header.complete) {
            throw new PhotoException(PhotoException.Kind.CORRUPT, "cut off");
        }
        if ((long) width * height > MOST_PIXELS) {
            throw new PhotoException(PhotoException.Kind.TOO_LARGE, width + "x" + height);
        }
        orientation = orientation(file);
        regions = regions(file);
        if (regions == null) {
            if ((long) width * height > WHOLE_PIXELS) {
                throw new PhotoException(PhotoException.Kind.TOO_LARGE, width + "x" + height);
            }
            whole = BitmapFactory.decodeFile(file.getPath(), options());
        }
        Bitmap sample = whole != null ? whole : decoded(0, Math.min(height, 8));
        if (sample == null) {
            throw new PhotoException(PhotoException.Kind.CORRUPT, "not decoded");
        }
        redIsLowest = isRedLowest();
        hasAlpha = sample.hasAlpha();
        profile = NewerApi.isSrgb(sample) ? null : header.profile;
    }

    private static PhotoException.Kind unknown(PhotoHeader header) {
        switch (header.format) {
            case HEIF:
                return PhotoException.Kind.NO_DECODER;
            case OTHER:
                return PhotoException.Kind.NO_IMAGE;
            default:
                return PhotoException.Kind.CORRUPT;
        }
    }

    private int orientation(File file) {
        if (header.format != PhotoHeader.Format.HEIF) {
            return header.orientation();
        }
        try {
            int value =
                    new ExifInterface(file.getPath())
                            .getAttributeInt(ExifInterface.TAG_ORIENTATION, 1);
            return value >= 1 && value <= 8 ? value : 1;
        } catch (IOException e) {
            return 1;
        }
    }

    private static BitmapRegionDecoder regions(File file) {
        try {
            return BitmapRegionDecoder.newInstance(file.getPath(), false);
        } catch (IOException e) {
            return null; // GIF and BMP, for example
        }
    }

    private static boolean isRedLowest() {
        Bitmap red = Bitmap.createBitmap(1, 1, Bitmap.Config.ARGB_8888);
        red.eraseColor(0xFFFF0000);
        int[] pixel = new int[1];
        red.copyPixelsToBuffer(IntBuffer.wrap(pixel));
        return (pixel[0] & 255) == 255;
    }

    private BitmapFactory.Options options() {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inPreferredConfig = Bitmap.Config.ARGB_8888;
        options.inPremultiplied = false; // or transparent pixels would lose their colours
        if (header.profile == null) {
            NewerApi.preferSrgb(options); // there would be nothing to save other colours with
        }
        return options;
    }

    private Bitmap decoded(int first, int rows) {
        return regions.decodeRegion(new Rect(0, first, width, first + rows), options());
    }

    @Override
    public int width() {
        return width;
    }

    @Override
    public int height() {
        return height;
    }

    @Override
    public void read(int first, int count, int[] pixels) throws IOException {
        if (first < bandFirst || first + count > bandFirst + bandRows) {
            int rows = Math.max(count, Math.min(BAND_PIXELS / width, height));
            bandFirst = Math.max(0, Math.min(first, height - rows));
            bandRows = Math.min(rows, height - bandFirst);
            load();
        }
        System.arraycopy(band, (first - bandFirst) * width, pixels, 0, count * width);
    }

    private void load() throws IOException {
        if (band.length != width * bandRows) {
            band = new int[width * bandRows];
        }
        if (whole != null) {
            whole.getPixels(band, 0, width, 0, bandFirst, width, bandRows);
            return;
        }
        Bitmap bitmap = decoded(bandFirst, bandRows);
        if (bitmap == null || bitmap.getWidth() != width || bitmap.getHeight() != bandRows) {
            throw new PhotoException(PhotoException.Kind.CORRUPT, "not decoded");
        }
        // Not getPixels, which converts to sRGB what has a profile.
        bitmap.copyPixelsToBuffer(IntBuffer.wrap(band));
        bitmap.recycle();
        for (int i = 0; redIsLowest && i < band.length; i++) { // 0xAABBGGRR
            int pixel = band[i];
            band[i] = pixel & 0xFF00FF00 | pixel << 16 & 0xFF0000 | pixel >> 16 & 0xFF;
        }
    }

    @Override
    public void close() {
        if (regions != null) {
            regions.recycle();
        }
        whole = null;
    }
}
