package org.kerasskd.demo;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.BufferedOutputStream;
import java.io.File;
import java.io.FileOutputStream;
import java.io.OutputStream;
import java.util.Random;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

/** What the app writes, read by another decoder; and what it reads of others' files. */
public class WritersTest {
    @Rule public final TemporaryFolder folder = new TemporaryFolder();

    private interface Made {
        PhotoWriter in(OutputStream out) throws Exception;
    }

    private File written(int[] pixels, int width, Made made) throws Exception {
        File file = folder.newFile();
        try (PhotoWriter writer = made.in(new BufferedOutputStream(new FileOutputStream(file)))) {
            int height = pixels.length / width;
            for (int row = 0; row < height; row += 5) { // in bands that are no multiples of 8
                int rows = Math.min(5, height - row);
                int[] band = new int[rows * width];
                System.arraycopy(pixels, row * width, band, 0, band.length);
                writer.write(band, rows);
            }
            writer.finish();
        }
        return file;
    }

    private static int[] opaque(int[] pixels) {
        int[] result = pixels.clone();
        for (int i = 0; i < result.length; i++) {
            result[i] |= 0xFF000000;
        }
        return result;
    }

    @Test
    public void pngIsExact() throws Exception {
        int[] pixels = new Random(1).ints(37 * 29).toArray();
        File file =
                written(pixels, 37, out -> new PngWriter(out, 37, 29, false, true, null, null));
        assertArrayEquals(pixels, Fixtures.pixels(file));
        file = written(pixels, 37, out -> new PngWriter(out, 37, 29, false, false, null, null));
        assertArrayEquals(opaque(pixels), Fixtures.pixels(file));
        file = written(pixels, 37, out -> new PngWriter(out, 37, 29, true, false, null, null));
        int[] read = Fixtures.pixels(file);
        assertEquals(PhotoWriter.mean(pixels[5]), read[5] & 255);
        assertTrue(PhotoHeader.read(file).grey);
    }

    @Test
    public void greyIsTheRoundedMean() {
        for (int sum = 0; sum <= 765; sum++) {
            int red = Math.min(255, sum);
            int green = Math.min(255, sum - red);
            int pixel = red << 16 | green << 8 | sum - red - green;
            assertEquals(Math.rint(sum / 3.0), PhotoWriter.mean(pixel), 0);
        }
    }

    @Test
    public void jpegKeepsThePhotograph() throws Exception {
        int[] photo = Fixtures.pixels(Fixtures.file("fp16_photo.png"));
        File file =
                written(photo, 300, out -> new JpegWriter(out, 300, 257, false, 95, null, null));
        int[] read = Fixtures.pixels(file);
        // libjpeg's JPEG of the same quality and sampling; it optimises its Huffman codes.
        File other = Fixtures.file("fp16_photo.jpg");
        double theirs = Fixtures.psnr(photo, Fixtures.pixels(other));
        double ours = Fixtures.psnr(photo, read);
        assertTrue(ours + " dB, " + theirs, ours > theirs - 0.3);
        assertTrue(file.length() + ", " + other.length(), file.length() < 1.1 * other.length());
    }

    /** What the check of free space reckons with holds for the photograph that takes most. */
    @Test
    public void noJpegIsLargerThanReckoned() throws Exception {
        int[] noise = new Random(2).ints(256 * 256).map(WritersTest::saturated).toArray();
        File file =
                written(noise, 256, out -> new JpegWriter(out, 256, 256, false, 95, null, null));
        double bytes = file.length() / (double) noise.length;
        assertTrue(bytes + "", bytes < PhotoFile.MOST_JPEG_BYTES);
        assertTrue(bytes + "", bytes > 0.7 * PhotoFile.MOST_JPEG_BYTES); // or it asks for too much
    }

    /** Each channel black or white, by its topmost bit. */
    private static int saturated(int pixel) {
        return (pixel >>> 7 & 0x010101) * 255;
    }

    @Test
    public void jpegOfAnySize() throws Exception {
        for (int[] size : new int[][] {{1, 1}, {8, 8}, {9, 17}, {100, 3}}) {
            int[] pixels = new int[size[0] * size[1]];
            java.util.Arrays.fill(pixels, 0xFF3060A0);
            for (boolean grey : new boolean[] {false, true}) {
                File file =
                        written(
                                pixels,
                                size[0],
                                out ->
                                        new JpegWriter(
                                                out, size[0], size[1], grey, 95, null, null));
                int[] read = Fixtures.pixels(file);
                assertEquals(pixels.length, read.length);
                int expected = grey ? 0xFF000000 | PhotoWriter.mean(pixels[0]) * 0x10101
                        : pixels[0];
                assertTrue(Fixtures.difference(new int[] {expected}, new int[] {read[0]}) <= 2);
                assertEquals(grey, PhotoHeader.read(file).grey);
                assertTrue(PhotoHeader.read(file).complete);
            }
        }
    }

    @Test
    public void extremesOfNoiseAreEncoded() throws Exception {
        // Every block has the largest coefficients that there are.
        int[] pixels = new int[64 * 64];
        Random random = new Random(2);
        for (int i = 0; i < pixels.length; i++) {
            pixels[i] = random.nextBoolean() ? 0xFFFFFFFF : 0xFF000000;
        }
        File file =
                written(pixels, 64, out -> new JpegWriter(out, 64, 64, false, 100, null, null));
        assertTrue(Fixtures.difference(pixels, Fixtures.pixels(file)) <= 3);
    }

    @Test
    public void exifAndProfileAreKeptAsTheyAre() throws Exception {
        PhotoHeader header = PhotoHeader.read(Fixtures.file("photo.jpg"));
        assertEquals(6, header.orientation());
        int[] pixels = new int[10 * 10];
        byte[] longProfile = new byte[150_000];
        new Random(3).nextBytes(longProfile);
        for (byte[] profile : new byte[][] {header.profile, longProfile}) {
            File jpeg =
                    written(
                            pixels,
                            10,
                            out -> new JpegWriter(out, 10, 10, false, 95, header.exif, profile));
            File png =
                    written(
                            pixels,
                            10,
                            out ->
                                    new PngWriter(
                                            out, 10, 10, false, false, header.exif, profile));
            for (File file : new File[] {jpeg, png}) {
                PhotoHeader read = PhotoHeader.read(file);
                assertArrayEquals(header.exif, read.exif);
                assertArrayEquals(profile, read.profile);
                assertEquals(6, read.orientation());
            }
        }
    }

    @Test
    public void headersOfOthersFiles() throws Exception {
        for (int orientation = 1; orientation <= 8; orientation++) {
            PhotoHeader header =
                    PhotoHeader.read(Fixtures.file("orientation_" + orientation + ".jpg"));
            assertEquals(orientation, header.orientation());
            assertTrue(header.complete);
            assertFalse(header.grey);
            assertNull(header.profile);
        }
        PhotoHeader webp = PhotoHeader.read(Fixtures.file("photo.webp"));
        assertEquals(PhotoHeader.Format.WEBP, webp.format);
        assertEquals(3, webp.orientation());
        assertTrue(webp.complete);
        assertTrue(PhotoHeader.read(Fixtures.file("grey.jpg")).grey);
        assertFalse(PhotoHeader.read(Fixtures.file("cut.jpg")).complete);
        assertFalse(PhotoHeader.read(Fixtures.file("cut.png")).complete);
        assertFalse(PhotoHeader.read(Fixtures.file("empty.jpg")).complete);
        assertEquals(
                PhotoHeader.Format.HEIF, PhotoHeader.read(Fixtures.file("photo.heic")).format);
        assertEquals(
                PhotoHeader.Format.OTHER, PhotoHeader.read(Fixtures.file("text.jpg")).format);
    }

    @Test
    public void damagedExifIsNoOrientation() {
        assertEquals(1, PhotoHeader.orientation(new byte[] {'I', 'I', 42, 0, 8, 0, 0, 0}));
        assertEquals(1, PhotoHeader.orientation(new byte[] {'M', 'M'}));
        byte[] far = {'I', 'I', 42, 0, -1, -1, -1, 127, 0, 0};
        assertEquals(1, PhotoHeader.orientation(far));
        assertEquals(1, PhotoHeader.orientation(new byte[0]));
    }

    @Test
    public void aJpegHasLimits() {
        assertThrows(
                IllegalArgumentException.class,
                () ->
                        new JpegWriter(
                                OutputStream.nullOutputStream(), 70000, 1, false, 95, null, null));
    }
}
