package org.kerasskd.demo;

import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.BitmapRegionDecoder;
import android.graphics.Rect;
import java.io.File;
import java.io.IOException;
import java.nio.IntBuffer;
import org.robolectric.annotation.Implementation;
import org.robolectric.annotation.Implements;
import org.robolectric.shadow.api.Shadow;

/** Robolectric's own gives empty bitmaps; this decodes the whole with Skia and cuts the part out. */
@Implements(BitmapRegionDecoder.class)
public class ShadowRegionDecoder {
    /** Rows of the largest region that was decoded. */
    static int mostRows;

    private String path;
    private int width;
    private int height;

    @Implementation
    protected static BitmapRegionDecoder newInstance(String path, boolean shareable)
            throws IOException {
        BitmapFactory.Options bounds = new BitmapFactory.Options();
        bounds.inJustDecodeBounds = true;
        BitmapFactory.decodeFile(path, bounds);
        PhotoHeader.Format format = PhotoHeader.read(new File(path)).format;
        if (bounds.outWidth <= 0 || format == PhotoHeader.Format.OTHER) {
            throw new IOException("Image format not supported");
        }
        BitmapRegionDecoder decoder = Shadow.newInstanceOf(BitmapRegionDecoder.class);
        ShadowRegionDecoder shadow = Shadow.extract(decoder);
        shadow.path = path;
        shadow.width = bounds.outWidth;
        shadow.height = bounds.outHeight;
        return decoder;
    }

    @Implementation
    protected int getWidth() {
        return width;
    }

    @Implementation
    protected int getHeight() {
        return height;
    }

    @Implementation
    protected Bitmap decodeRegion(Rect part, BitmapFactory.Options options) {
        int sample = Math.max(1, options.inSampleSize);
        options.inSampleSize = 1;
        Bitmap whole = BitmapFactory.decodeFile(path, options);
        if (whole == null) {
            return null;
        }
        mostRows = Math.max(mostRows, part.height());
        int[] all = new int[width * height];
        whole.copyPixelsToBuffer(IntBuffer.wrap(all));
        int columns = Math.max(1, part.width() / sample);
        int rows = Math.max(1, part.height() / sample);
        int[] pixels = new int[columns * rows];
        for (int i = 0; i < pixels.length; i++) {
            int y = part.top + i / columns * sample;
            pixels[i] = all[y * width + part.left + i % columns * sample];
        }
        Bitmap region = Bitmap.createBitmap(columns, rows, Bitmap.Config.ARGB_8888);
        region.setPremultiplied(options.inPremultiplied);
        region.setHasAlpha(whole.hasAlpha());
        region.copyPixelsFromBuffer(IntBuffer.wrap(pixels));
        return region;
    }

    @Implementation
    protected void recycle() {}
}
