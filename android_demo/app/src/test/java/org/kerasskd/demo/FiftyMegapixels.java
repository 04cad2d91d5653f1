package org.kerasskd.demo;

import java.io.IOException;
import java.io.OutputStream;

/** Runs in a process of its own with little memory; see TilingTest. */
public final class FiftyMegapixels {
    private static final int WIDTH = 8660;
    private static final int HEIGHT = 5774;

    private FiftyMegapixels() {}

    /** The identity, for tiles of 256. */
    private static final class Identity implements Tiling.Model {
        @Override
        public int height() {
            return 256;
        }

        @Override
        public int width() {
            return 256;
        }

        @Override
        public void run(float[] tile, float[] restored) {
            System.arraycopy(tile, 0, restored, 0, tile.length);
        }
    }

    private static int colour(int x, int y) {
        return 0xFF000000 | (x >> 3 & 255) << 16 | (y >> 3 & 255) << 8 | (x + y >> 4 & 255);
    }

    public static void main(String[] arguments) throws IOException {
        long[] bytes = new long[1];
        OutputStream nowhere =
                new OutputStream() {
                    @Override
                    public void write(int value) {
                        bytes[0]++;
                    }
                };
        Tiling.Source source =
                new Tiling.Source() {
                    @Override
                    public int width() {
                        return WIDTH;
                    }

                    @Override
                    public int height() {
                        return HEIGHT;
                    }

                    @Override
                    public void read(int first, int count, int[] pixels) {
                        for (int i = 0; i < count * WIDTH; i++) {
                            pixels[i] = colour(i % WIDTH, first + i / WIDTH);
                        }
                    }
                };
        int[] rows = new int[1];
        try (JpegWriter writer =
                new JpegWriter(nowhere, WIDTH, HEIGHT, false, 95, null, null)) {
            Tiling.Sink checked =
                    (pixels, count) -> {
                        for (int i = 0; i < count * WIDTH; i++) {
                            if (pixels[i] != colour(i % WIDTH, rows[0] + i / WIDTH)) {
                                throw new IOException("pixel " + i + " of row " + rows[0]);
                            }
                        }
                        rows[0] += count;
                        writer.write(pixels, count);
                    };
            Tiling.restore(source, new Identity(), checked, (done, total) -> true);
            writer.finish();
        }
        System.out.println(rows[0] + " rows, " + bytes[0] + " bytes");
    }
}
