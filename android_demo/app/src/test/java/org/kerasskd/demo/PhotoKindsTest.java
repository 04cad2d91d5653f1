package org.kerasskd.demo;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;

import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.Canvas;
import android.media.ExifInterface;
import java.io.File;
import java.io.IOException;
import org.junit.After;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.tensorflow.lite.gpu.GpuDelegate;

/** Photographs of every kind, through the whole app. */
@RunWith(AppTestRunner.class)
public class PhotoKindsTest {
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

    private Result restored(String fixture) throws Exception {
        phone.send(fixture);
        return phone.restored();
    }

    /** Sends what cannot be restored; the sentence must be there, and nothing else. */
    private void refused(String fixture, PhotoException.Kind kind, int words) throws Exception {
        phone.send(fixture);
        Restorer.Status status = phone.finish();
        assertEquals(Restorer.State.FAILED, status.state);
        assertEquals(fixture, kind, status.error.kind);
        assertEquals(phone.activity().getString(words), phone.text(R.id.message));
        assertTrue(phone.isShown(R.id.start));
        Phone.await(() -> Phone.kept().length == 0);
    }

    @Test
    public void allEightOrientationsAreKept() throws Exception {
        for (int orientation = 1; orientation <= 8; orientation++) {
            String name = "orientation_" + orientation + ".jpg";
            Result result = restored(name);
            assertEquals(orientation, result.orientation);
            PhotoHeader before = PhotoHeader.read(Fixtures.file(name));
            PhotoHeader after = PhotoHeader.read(result.file);
            assertArrayEquals(before.exif, after.exif);
            // The framework reads it as well, as every gallery does.
            ExifInterface exif = new ExifInterface(result.file.getPath());
            assertEquals(orientation, exif.getAttributeInt(ExifInterface.TAG_ORIENTATION, -1));
            assertEquals("Keras", exif.getAttribute(ExifInterface.TAG_MAKE));
            assertEquals(
                    "2024:05:06 07:08:09",
                    exif.getAttribute(ExifInterface.TAG_DATETIME_ORIGINAL));
            assertEquals(60 * 40, Fixtures.pixels(result.file).length);
            phone.click(R.id.again);
        }
    }

    @Test
    public void orientationsAreShownUpright() throws Exception {
        for (int orientation = 1; orientation <= 8; orientation++) {
            Bitmap stored =
                    BitmapFactory.decodeFile(
                            Fixtures.file("orientation_" + orientation + ".jpg").getPath());
            File upright = Fixtures.file("upright_" + orientation + ".png");
            Bitmap expected = BitmapFactory.decodeFile(upright.getPath());
            Bitmap shown =
                    Bitmap.createBitmap(
                            expected.getWidth(), expected.getHeight(), Bitmap.Config.ARGB_8888);
            Canvas canvas = new Canvas(shown);
            canvas.concat(Orientation.matrix(orientation, stored.getWidth(), stored.getHeight()));
            canvas.drawBitmap(stored, 0, 0, null);
            // Pillow decoded the same JPEG: a level or two of rounding.
            int difference = Fixtures.difference(pixels(expected), pixels(shown));
            assertTrue(orientation + ": " + difference, difference <= 4);
        }
    }

    private static int[] pixels(Bitmap bitmap) {
        int width = bitmap.getWidth();
        int[] pixels = new int[width * bitmap.getHeight()];
        bitmap.getPixels(pixels, 0, width, 0, 0, width, bitmap.getHeight());
        return pixels;
    }

    @Test
    public void greyStaysGrey() throws Exception {
        Result result = restored("grey.png");
        Fixtures.assertEqual("fp16_grey.png", result, 1);
        assertTrue(PhotoHeader.read(result.file).grey);
        phone.click(R.id.again);
        result = restored("grey.jpg");
        assertTrue(PhotoHeader.read(result.file).grey);
        assertEquals("image/jpeg", result.mimeType);
    }

    @Test
    public void opacityIsKeptAndColoursUnderItToo() throws Exception {
        Result result = restored("alpha.png");
        Fixtures.assertEqual("fp16_alpha.png", result, 1);
        assertEquals("image/png", result.mimeType);
    }

    @Test
    public void aJpegStaysAJpegWithItsBlocks() throws Exception {
        Result result = restored("photo.jpg");
        assertEquals("image/jpeg", result.mimeType);
        PhotoHeader header = PhotoHeader.read(result.file);
        assertArrayEquals(PhotoHeader.read(Fixtures.file("photo.jpg")).exif, header.exif);
        assertNull("sRGB needs none", header.profile);
        // The restored photograph, but for the losses of two JPEGs.
        int[] expected = Fixtures.pixels(Fixtures.file("fp16_photo.png"));
        assertTrue(Fixtures.psnr(expected, Fixtures.pixels(result.file)) > 32);
    }

    @Test
    public void webpBecomesJpegWithItsOrientation() throws Exception {
        Result result = restored("photo.webp");
        assertEquals("image/jpeg", result.mimeType);
        assertEquals(3, result.orientation);
        assertEquals(3, PhotoHeader.read(result.file).orientation());
    }

    @Test
    public void whatIsDecodedOnlyAsAWhole() throws Exception {
        Result result = restored("photo.gif");
        assertEquals(300 * 257, Fixtures.pixels(result.file).length);
    }

    @Test
    public void aSinglePixelRow() throws Exception {
        assertEquals(3000, Fixtures.pixels(restored("wide.png").file).length);
    }

    @Test
    public void corruptFilesAreSaid() throws Exception {
        refused("cut.jpg", PhotoException.Kind.CORRUPT, R.string.error_corrupt);
        refused("cut.png", PhotoException.Kind.CORRUPT, R.string.error_corrupt);
        refused("empty.jpg", PhotoException.Kind.NO_IMAGE, R.string.error_no_image);
        refused("text.jpg", PhotoException.Kind.NO_IMAGE, R.string.error_no_image);
    }

    @Test
    public void heicWithoutADecoderIsSaid() throws Exception {
        refused("photo.heic", PhotoException.Kind.NO_DECODER, R.string.error_no_decoder);
    }

    @Test
    public void aBombIsRefusedBeforeItIsDecoded() throws Exception {
        refused("bomb.png", PhotoException.Kind.TOO_LARGE, R.string.error_too_large);
    }

    @Test
    public void aPhotoThatIsNotGivenIsSaid() throws Exception {
        refused("nowhere.jpg", PhotoException.Kind.UNREADABLE, R.string.error_unreadable);
    }

    @Test
    public void largeOnesAreReadByBands() throws Exception {
        // Bands of 8 megapixels at most, whatever the size: here 2667 rows of 3000.
        File file = File.createTempFile("large", ".png");
        int rows = 5000;
        try (PngWriter writer =
                new PngWriter(
                        new java.io.BufferedOutputStream(new java.io.FileOutputStream(file)),
                        3000,
                        rows,
                        false,
                        false,
                        null,
                        null)) {
            int[] line = new int[3000];
            for (int y = 0; y < rows; y++) {
                java.util.Arrays.fill(line, 0xFF000000 | y * 53);
                writer.write(line, 1);
            }
            writer.finish();
        }
        ShadowRegionDecoder.mostRows = 0;
        try (Photo photo = new Photo(file)) {
            int[] pixels = new int[3000 * 256];
            for (int first = 0; first < rows; first += 200) {
                int count = Math.min(256, rows - first);
                photo.read(first, count, pixels);
                for (int y = 0; y < count; y += 17) {
                    assertEquals(0xFF000000 | (first + y) * 53, pixels[y * 3000 + 7]);
                }
            }
        }
        assertTrue(ShadowRegionDecoder.mostRows <= 2667);
        assertTrue(file.delete());
    }

    @Test
    public void failuresHaveTheirKinds() {
        Throwable full = new IOException("write failed: ENOSPC (No space left on device)");
        assertEquals(PhotoException.Kind.NO_SPACE, PhotoException.of(full).kind);
        assertEquals(
                PhotoException.Kind.NO_SPACE,
                PhotoException.of(new RuntimeException(full)).kind);
        assertEquals(
                PhotoException.Kind.NO_MEMORY, PhotoException.of(new OutOfMemoryError()).kind);
        assertEquals(
                PhotoException.Kind.NO_PERMISSION,
                PhotoException.of(new SecurityException("denied")).kind);
        for (PhotoException.Kind kind : PhotoException.Kind.values()) {
            String words = phone.start().getString(Texts.failure(kind));
            assertFalse(words.isEmpty());
            assertTrue(words.endsWith("."));
        }
    }
}
