package org.kerasskd.demo;

import static org.junit.Assert.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import javax.imageio.ImageIO;

/** What fixtures.py made. */
final class Fixtures {
    static final File FOLDER = new File(System.getProperty("fixtures"));

    private Fixtures() {}

    static File file(String name) {
        return new File(FOLDER, name);
    }

    static byte[] bytes(String name) throws IOException {
        return Files.readAllBytes(file(name).toPath());
    }

    static Models.Entry student(String scheme) throws Exception {
        return new Models.Entry(file(scheme));
    }

    /** An image's pixels as 0xAARRGGBB, by a decoder that is not the app's. */
    static int[] pixels(File file) throws IOException {
        java.awt.image.BufferedImage image = ImageIO.read(file);
        int width = image.getWidth();
        int height = image.getHeight();
        int[] pixels = image.getRGB(0, 0, width, height, null, 0, width);
        if (image.getColorModel().getNumComponents() < 3) {
            // Java takes grey levels for linear light and converts them.
            for (int i = 0; i < pixels.length; i++) {
                int level = image.getRaster().getSample(i % width, i / width, 0);
                pixels[i] = pixels[i] & 0xFF000000 | level * 0x10101;
            }
        }
        return pixels;
    }

    /** Largest difference of two images' channels, opacity included. */
    static int difference(int[] one, int[] other) {
        if (one.length != other.length) {
            return Integer.MAX_VALUE;
        }
        int largest = 0;
        for (int i = 0; i < one.length; i++) {
            for (int shift = 0; shift < 32; shift += 8) {
                int difference = (one[i] >> shift & 255) - (other[i] >> shift & 255);
                largest = Math.max(largest, Math.abs(difference));
            }
        }
        return largest;
    }

    /** Asserts that a result is what Python makes, but for a few levels. */
    static void assertEqual(String expected, Result result, int levels) throws IOException {
        int difference = difference(pixels(file(expected)), pixels(result.file));
        assertTrue("differs from Python's by " + difference + " levels", difference <= levels);
    }

    /** PSNR of two images' colours in dB. */
    static double psnr(int[] one, int[] other) {
        double squares = 0;
        for (int i = 0; i < one.length; i++) {
            for (int shift = 0; shift < 24; shift += 8) {
                double difference = (one[i] >> shift & 255) - (other[i] >> shift & 255);
                squares += difference * difference;
            }
        }
        return 10 * Math.log10(255 * 255 / (squares / one.length / 3));
    }
}
