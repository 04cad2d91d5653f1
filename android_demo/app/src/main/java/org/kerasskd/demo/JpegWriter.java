package org.kerasskd.demo;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Writes a baseline JPEG from the top down, colour at full resolution. The framework's encoder
 * needs the whole bitmap: 200 MB for 50 megapixels.
 */
final class JpegWriter extends PhotoWriter {
    /** Most that one segment holds of a profile. */
    private static final int PROFILE_PART = 65519;

    private final OutputStream out;
    private final int width;
    private final int components;
    private final JpegBlocks blocks;
    /** Rows that wait until there are eight. */
    private final int[] strip;

    private int waiting;

    /**
     * @param quality 1..100, in the scale of libjpeg
     * @param exif a TIFF structure, or null
     * @param profile an ICC profile, or null
     */
    JpegWriter(
            OutputStream out,
            int width,
            int height,
            boolean grey,
            int quality,
            byte[] exif,
            byte[] profile)
            throws IOException {
        if (width > 65535 || height > 65535) {
            throw new IllegalArgumentException("a JPEG has at most 65535 pixels a side");
        }
        this.out = out;
        this.width = width;
        components = grey ? 1 : 3;
        blocks = new JpegBlocks(out, quality);
        strip = new int[8 * width];
        out.write(new byte[] {(byte) 0xFF, (byte) 0xD8});
        if (exif != null && exif.length <= 65527) {
            segment(0xE1, bytes("Exif\0\0"), exif);
        } else {
            segment(0xE0, bytes("JFIF\0"), new byte[] {1, 1, 0, 0, 1, 0, 1, 0, 0});
        }
        if (profile != null) {
            int parts = (profile.length + PROFILE_PART - 1) / PROFILE_PART;
            for (int part = 0; part < parts; part++) {
                int end = Math.min(profile.length, (part + 1) * PROFILE_PART);
                byte[] name = bytes("ICC_PROFILE\0\0\0");
                name[12] = (byte) (part + 1);
                name[13] = (byte) parts;
                segment(0xE2, name, Arrays.copyOfRange(profile, part * PROFILE_PART, end));
            }
        }
        byte[] frame = new byte[6 + 3 * components];
        byte[] scan = new byte[4 + 2 * components];
        byte[] size = {
            8, (byte) (height >> 8), (byte) height, (byte) (width >> 8), (byte) width
        };
        System.arraycopy(size, 0, frame, 0, 5);
        frame[5] = scan[0] = (byte) components;
        for (int i = 0; i < components; i++) {
            byte table = (byte) (i == 0 ? 0 : 1);
            System.arraycopy(new byte[] {(byte) (i + 1), 0x11, table}, 0, frame, 6 + 3 * i, 3);
            scan[1 + 2 * i] = (byte) (i + 1);
            scan[2 + 2 * i] = (byte) (table * 0x11);
        }
        scan[scan.length - 2] = 63; // all coefficients
        for (int table = 0; table < (grey ? 1 : 2); table++) {
            segment(0xDB, new byte[] {(byte) table}, blocks.quantisation(table));
        }
        segment(0xC0, frame, new byte[0]);
        for (int table = 0; table < (grey ? 1 : 2); table++) {
            segment(0xC4, new byte[] {(byte) table}, JpegBlocks.huffman(table, false));
            segment(0xC4, new byte[] {(byte) (0x10 + table)}, JpegBlocks.huffman(table, true));
        }
        segment(0xDA, scan, new byte[0]);
    }

    @Override
    public void write(int[] pixels, int count) throws IOException {
        for (int y = 0; y < count; y++) {
            System.arraycopy(pixels, y * width, strip, waiting * width, width);
            waiting++;
            if (waiting == 8) {
                encodeStrip();
            }
        }
    }

    @Override
    void finish() throws IOException {
        if (waiting > 0) {
            for (int y = waiting; y < 8; y++) { // below the image, its last row again
                System.arraycopy(strip, (waiting - 1) * width, strip, y * width, width);
            }
            encodeStrip();
        }
        blocks.flush();
        out.write(new byte[] {(byte) 0xFF, (byte) 0xD9});
        out.flush();
    }

    @Override
    public void close() throws IOException {
        out.close();
    }

    private void encodeStrip() throws IOException {
        waiting = 0;
        float[] block = new float[64];
        for (int left = 0; left < width; left += 8) {
            for (int component = 0; component < components; component++) {
                for (int i = 0; i < 64; i++) {
                    int x = Math.min(left + (i & 7), width - 1);
                    block[i] = value(strip[(i >> 3) * width + x], component);
                }
                blocks.encode(block, component);
            }
        }
    }

    /** Y, Cb or Cr of a pixel about zero, as JFIF defines them. */
    private float value(int pixel, int component) {
        if (components == 1) {
            return mean(pixel) - 128;
        }
        int red = pixel >> 16 & 255;
        int green = pixel >> 8 & 255;
        int blue = pixel & 255;
        if (component == 0) {
            return 0.299f * red + 0.587f * green + 0.114f * blue - 128;
        }
        return component == 1
                ? -0.168735892f * red - 0.331264108f * green + 0.5f * blue
                : 0.5f * red - 0.418687589f * green - 0.081312411f * blue;
    }

    private void segment(int marker, byte[] first, byte[] second) throws IOException {
        int length = 2 + first.length + second.length;
        out.write(
                new byte[] {(byte) 0xFF, (byte) marker, (byte) (length >> 8), (byte) length});
        out.write(first);
        out.write(second);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.ISO_8859_1);
    }
}
