package org.kerasskd.demo;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32;
import java.util.zip.Deflater;
import java.util.zip.DeflaterOutputStream;

/** Writes a PNG of 8 bits, row by row. */
final class PngWriter extends PhotoWriter {
    private static final int SUB = 1;

    private final DataOutputStream out;
    private final DeflaterOutputStream pixelData;
    private final Deflater deflater = new Deflater(6);
    private final boolean grey;
    private final boolean alpha;
    private final int width;

    /**
     * @param exif a TIFF structure, or null
     * @param profile an ICC profile, or null
     */
    PngWriter(
            OutputStream out,
            int width,
            int height,
            boolean grey,
            boolean alpha,
            byte[] exif,
            byte[] profile)
            throws IOException {
        this.out = new DataOutputStream(out);
        this.grey = grey;
        this.alpha = alpha;
        this.width = width;
        this.out.writeLong(0x89504E470D0A1A0AL);
        byte colourType = (byte) ((grey ? 0 : 2) + (alpha ? 4 : 0));
        byte[] kind = {8, colourType, 0, 0, 0};
        chunk("IHDR", ByteBuffer.allocate(13).putInt(width).putInt(height).put(kind).array(), 13);
        if (profile != null) {
            ByteArrayOutputStream content = new ByteArrayOutputStream();
            content.write("ICC profile\0\0".getBytes(StandardCharsets.ISO_8859_1));
            try (DeflaterOutputStream deflated = new DeflaterOutputStream(content)) {
                deflated.write(profile);
            }
            chunk("iCCP", content.toByteArray(), content.size());
        }
        if (exif != null) {
            chunk("eXIf", exif, exif.length);
        }
        pixelData = new DeflaterOutputStream(new Chunks(), deflater, 1 << 16);
    }

    @Override
    public void write(int[] pixels, int count) throws IOException {
        int channels = (grey ? 1 : 3) + (alpha ? 1 : 0);
        byte[] line = new byte[1 + width * channels];
        byte[] raw = new byte[width * channels];
        for (int y = 0; y < count; y++) {
            int at = 0;
            for (int x = 0; x < width; x++) {
                int pixel = pixels[y * width + x];
                if (grey) {
                    raw[at++] = (byte) mean(pixel);
                } else {
                    raw[at++] = (byte) (pixel >> 16);
                    raw[at++] = (byte) (pixel >> 8);
                    raw[at++] = (byte) pixel;
                }
                if (alpha) {
                    raw[at++] = (byte) (pixel >>> 24);
                }
            }
            line[0] = SUB; // differences to the left pixel: smaller and quick
            for (int i = 0; i < raw.length; i++) {
                line[1 + i] = (byte) (i < channels ? raw[i] : raw[i] - raw[i - channels]);
            }
            pixelData.write(line);
        }
    }

    @Override
    void finish() throws IOException {
        pixelData.finish();
        pixelData.flush();
        chunk("IEND", new byte[0], 0);
        out.flush();
    }

    @Override
    public void close() throws IOException {
        deflater.end();
        out.close();
    }

    private void chunk(String name, byte[] content, int length) throws IOException {
        byte[] type = name.getBytes(StandardCharsets.ISO_8859_1);
        CRC32 crc = new CRC32();
        crc.update(type);
        crc.update(content, 0, length);
        out.writeInt(length);
        out.write(type);
        out.write(content, 0, length);
        out.writeInt((int) crc.getValue());
    }

    /** What the deflater gives, as chunks of pixels. */
    private final class Chunks extends OutputStream {
        @Override
        public void write(int value) throws IOException {
            write(new byte[] {(byte) value}, 0, 1);
        }

        @Override
        public void write(byte[] content, int offset, int length) throws IOException {
            byte[] part = new byte[length];
            System.arraycopy(content, offset, part, 0, length);
            chunk("IDAT", part, length);
        }
    }
}
