package org.kerasskd.demo;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;

/** The blocks of a baseline JPEG: cosine transform, quantisation and Huffman codes of T.81. */
final class JpegBlocks {
    /** Positions in the order of rising frequency. */
    private static final int[] ZIGZAG = new int[64];

    // T.81, tables K.1 and K.2: steps of quantisation at quality 50, by rows.
    private static final int[][] STEPS = {
        {
            16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57,
            69, 56, 14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55,
            64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100,
            103, 99
        },
        {
            17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99,
            99, 99, 47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
            99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99
        }
    };

    // T.81, tables K.3 to K.6: how many codes of each length, then their symbols, in hexadecimal.
    private static final String[] DC = {
        "00010501010101010100000000000000" + "000102030405060708090a0b",
        "00030101010101010101010000000000" + "000102030405060708090a0b"
    };
    private static final String[] AC = {
        "0002010303020403050504040000017d"
                + "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a16"
                + "1718191a25262728292a3435363738393a434445464748494a535455565758595a63646566676869"
                + "6a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6"
                + "b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8"
                + "f9fa",
        "00020102040403040705040400010277"
                + "000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e1"
                + "25f11718191a262728292a35363738393a434445464748494a535455565758595a63646566676869"
                + "6a737475767778797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5"
                + "b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9"
                + "fa"
    };
    /** Cosine transform of eight values, rows by frequency. */
    private static final float[] COSINES = new float[64];

    static {
        int at = 0;
        for (int sum = 0; sum < 15; sum++) {
            for (int i = Math.max(0, sum - 7); i <= Math.min(7, sum); i++) {
                int y = (sum & 1) == 0 ? sum - i : i;
                ZIGZAG[at++] = 8 * y + sum - y;
            }
        }
        for (int i = 0; i < 64; i++) {
            int u = i >> 3;
            double scale = u == 0 ? Math.sqrt(0.125) : 0.5;
            COSINES[i] = (float) (scale * Math.cos((2 * (i & 7) + 1) * u * Math.PI / 16));
        }
    }

    private final OutputStream out;
    private final int[][] steps = new int[2][64];
    private final int[][] dcCodes = {codes(DC[0]), codes(DC[1])};
    private final int[][] acCodes = {codes(AC[0]), codes(AC[1])};
    /** The last block's mean of each component, which the next one is told from. */
    private final int[] before = new int[3];

    private final float[] half = new float[64];
    private final int[] levels = new int[64];
    private int bits;
    private int bitCount;

    JpegBlocks(OutputStream out, int quality) {
        this.out = out;
        int scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
        for (int table = 0; table < 2; table++) {
            for (int i = 0; i < 64; i++) {
                int step = (STEPS[table][i] * scale + 50) / 100;
                steps[table][i] = Math.max(1, Math.min(255, step));
            }
        }
    }

    /** The steps of a table (0 for brightness, 1 for colour) as they are written. */
    byte[] quantisation(int table) {
        byte[] content = new byte[64];
        for (int i = 0; i < 64; i++) {
            content[i] = (byte) steps[table][ZIGZAG[i]];
        }
        return content;
    }

    /** A table of codes as it is written. */
    static byte[] huffman(int table, boolean ac) {
        String text = (ac ? AC : DC)[table];
        ByteArrayOutputStream content = new ByteArrayOutputStream();
        for (int i = 0; i < text.length(); i += 2) {
            content.write(Integer.parseInt(text.substring(i, i + 2), 16));
        }
        return content.toByteArray();
    }

    /** Code and length (in the upper and lower 16 bits) of each symbol. */
    private static int[] codes(String text) {
        int[] codes = new int[256];
        int code = 0;
        int at = 32;
        for (int length = 1; length <= 16; length++) {
            int count = Integer.parseInt(text.substring(2 * length - 2, 2 * length), 16);
            for (int i = 0; i < count; i++, at += 2) {
                codes[Integer.parseInt(text.substring(at, at + 2), 16)] = code++ << 16 | length;
            }
            code <<= 1;
        }
        return codes;
    }

    /** Encodes 64 values about zero of component 0 (brightness), 1 or 2 (colour). */
    void encode(float[] block, int component) throws IOException {
        int table = component == 0 ? 0 : 1;
        transform(block, steps[table]);
        int mean = levels[0];
        int difference = mean - before[component];
        before[component] = mean;
        int size = size(difference);
        put(dcCodes[table][size]);
        putValue(difference, size);
        int zeros = 0;
        for (int i = 1; i < 64; i++) {
            int level = levels[ZIGZAG[i]];
            if (level == 0) {
                zeros++;
                continue;
            }
            for (; zeros > 15; zeros -= 16) {
                put(acCodes[table][0xF0]); // sixteen zeros
            }
            size = size(level);
            put(acCodes[table][zeros << 4 | size]);
            putValue(level, size);
            zeros = 0;
        }
        if (zeros > 0) {
            put(acCodes[table][0]); // nothing but zeros follows
        }
    }

    /** Fills the last byte with ones. */
    void flush() throws IOException {
        putBits(0x7F, 7);
        bits = bitCount = 0;
    }

    private void transform(float[] block, int[] step) {
        for (int y = 0; y < 8; y++) {
            for (int u = 0; u < 8; u++) {
                float sum = 0;
                for (int x = 0; x < 8; x++) {
                    sum += COSINES[8 * u + x] * block[8 * y + x];
                }
                half[8 * y + u] = sum;
            }
        }
        for (int v = 0; v < 8; v++) {
            for (int u = 0; u < 8; u++) {
                float sum = 0;
                for (int y = 0; y < 8; y++) {
                    sum += COSINES[8 * v + y] * half[8 * y + u];
                }
                levels[8 * v + u] = Math.round(sum / step[8 * v + u]);
            }
        }
    }

    private static int size(int value) {
        return 32 - Integer.numberOfLeadingZeros(Math.abs(value));
    }

    private void putValue(int value, int size) throws IOException {
        putBits((value < 0 ? value - 1 : value) & (1 << size) - 1, size);
    }

    private void put(int code) throws IOException {
        putBits(code >>> 16, code & 0xFFFF);
    }

    private void putBits(int value, int count) throws IOException {
        bits = bits << count | value;
        bitCount += count;
        while (bitCount >= 8) {
            int next = bits >>> bitCount - 8 & 255;
            out.write(next);
            if (next == 0xFF) {
                out.write(0); // so that it is no marker
            }
            bitCount -= 8;
        }
        bits &= (1 << bitCount) - 1;
    }
}
