package org.kerasskd.demo;

import java.io.IOException;

/**
 * Any image size through a model of fixed size: overlapping tiles, blended without seams.
 *
 * <p>The algorithm of docs/tiling.md, to the last bit that of keras_skd.tiling: float32 throughout,
 * each product and sum rounded on its own, in the same order.
 */
final class Tiling {
    /** The tile's side over these is the least overlap, the cross-fade, and the margin. */
    private static final int OVERLAP = 8;
    private static final int FADE = 16;
    private static final int MARGIN = 32;

    /** An image that is read by bands of rows. */
    interface Source {
        int width();

        int height();

        /** Reads rows {@code first .. first + count - 1} as 0xAARRGGBB, not premultiplied. */
        void read(int first, int count, int[] pixels) throws IOException;
    }

    /** Takes the rows of the result, from the top down. */
    interface Sink {
        /** Takes the next {@code count} rows as 0xAARRGGBB; the array is used again afterwards. */
        void write(int[] pixels, int count) throws IOException;
    }

    /** A model of one tile. */
    interface Model {
        int height();

        int width();

        /** Restores RGB in 0..1, {@code height * width * 3} values by rows. */
        void run(float[] tile, float[] restored);
    }

    /** Is told of every tile that is done, and says whether to go on. */
    interface Progress {
        boolean tileDone(int done, int total);
    }

    /** The progress asked to stop. */
    static final class CancelledException extends RuntimeException {
        private static final long serialVersionUID = 1;
    }

    /** One tile along one axis, in pixels of the image. */
    static final class Span {
        /** Where the tile's input starts; negative in the reflected margin. */
        final int start;
        /** First pixel that the tile takes part in, and one past the last. */
        final int first;
        final int last;
        /** Lengths of the cross-fades with the tiles before and after. */
        final int fadeIn;
        final int fadeOut;

        Span(int start, int first, int last, int fadeIn, int fadeOut) {
            this.start = start;
            this.first = first;
            this.last = last;
            this.fadeIn = fadeIn;
            this.fadeOut = fadeOut;
        }
    }

    private Tiling() {}

    /** Places tiles along one axis of {@code length} pixels. */
    static Span[] spans(int length, int tile) {
        int overlap = tile / OVERLAP;
        int fade = tile / FADE;
        int margin = tile / MARGIN;
        int total = length + 2 * margin;
        if (length <= tile && total > tile) {
            total = tile; // one tile does, with narrower margins
        }
        int step = tile - overlap;
        int count = Math.max(1, Math.floorDiv(total - overlap + step - 1, step));
        if (count == 1) {
            return new Span[] {new Span(-Math.floorDiv(tile - length, 2), 0, length, 0, 0)};
        }
        int[] starts = new int[count];
        for (int i = 0; i < count; i++) {
            starts[i] = (int) ((long) i * (total - tile) / (count - 1)) - margin;
        }
        Span[] spans = new Span[count];
        int first = 0;
        for (int i = 0; i < count; i++) {
            boolean isLast = i == count - 1;
            // A fade between tiles i and i + 1 is centred in [start of i + 1, end of i).
            int next = isLast ? length : Math.floorDiv(starts[i + 1] + starts[i] + tile - fade, 2);
            int last = isLast ? length : next + fade;
            spans[i] = new Span(starts[i], first, last, i == 0 ? 0 : fade, isLast ? 0 : fade);
            first = next;
        }
        return spans;
    }

    /** How many tiles an image takes. */
    static int count(int width, int height, Model model) {
        return spans(height, model.height()).length * spans(width, model.width()).length;
    }

    /** Weights of the later tile in a cross-fade: 3 t^2 - 2 t^3 at t = (i + 1/2) / length. */
    static float[] fadeInWeights(int length) {
        float[] weights = new float[length];
        for (int i = 0; i < length; i++) {
            float t = (i + 0.5f) / length;
            weights[i] = t * t * (3 - 2 * t);
        }
        return weights;
    }

    /** Index mirrored into 0..length - 1 about the centres of the border pixels. */
    static int reflected(int index, int length) {
        if (length == 1) {
            return 0;
        }
        int period = 2 * (length - 1);
        int inPeriod = Math.abs(index) % period;
        return Math.min(inPeriod, period - inPeriod);
    }

    /**
     * Restores an image. Beside one row of tiles nothing of it is held, so that memory grows with
     * its width alone. Opacity is passed on as it is.
     *
     * @throws CancelledException if {@code progress} says so
     */
    static void restore(Source source, Model model, Sink sink, Progress progress)
            throws IOException {
        new Pass(source, model, sink, progress).run();
    }

    /** Values of 0..1 as the nearest of 256 levels, ties to the even one. */
    static int level(float value) {
        // Not a number becomes 0 here; the self-check keeps such models from pictures.
        return (int) Math.rint(Math.max(0f, Math.min(1f, value)) * 255f);
    }

    /** One pass over one image. */
    private static final class Pass {
        private final Source source;
        private final Model model;
        private final Sink sink;
        private final Progress progress;
        private final int width;
        private final int height;
        private final Span[] columns;
        private final float[] tile;
        private final float[] restored;
        /** Levels of 8 bits in 0..1; one table instead of a division for every value. */
        private final float[] scaled = new float[256];

        Pass(Source source, Model model, Sink sink, Progress progress) {
            this.source = source;
            this.model = model;
            this.sink = sink;
            this.progress = progress;
            width = source.width();
            height = source.height();
            columns = spans(width, model.width());
            tile = new float[model.height() * model.width() * 3];
            restored = new float[tile.length];
            for (int level = 0; level < 256; level++) {
                scaled[level] = level / 255f;
            }
        }

        void run() throws IOException {
            Span[] rows = spans(height, model.height());
            int[] band = new int[Math.min(height, model.height()) * width];
            float[] above = new float[0];
            int done = 0;
            for (Span row : rows) {
                int top = Math.max(0, row.start);
                int bottom = Math.min(height, row.start + model.height());
                source.read(top, bottom - top, band);
                int complete = row.last - row.first - row.fadeOut;
                float[] below = new float[row.fadeOut * width * 3];
                int[] result = new int[complete * width];
                float[] left = new float[0];
                for (Span column : columns) {
                    cut(band, top, row, column);
                    model.run(tile, restored);
                    left = blendAcross(row, column, left);
                    blendDown(row, column, above, below, result);
                    done++;
                    if (!progress.tileDone(done, rows.length * columns.length)) {
                        throw new CancelledException();
                    }
                }
                for (int i = 0; i < result.length; i++) {
                    result[i] |= band[(row.first - top) * width + i] & 0xFF000000;
                }
                sink.write(result, complete);
                above = below;
            }
        }

        /** Fills the tile from the band, mirrored beyond the image. */
        private void cut(int[] band, int top, Span row, Span column) {
            int[] across = new int[model.width()];
            for (int x = 0; x < across.length; x++) {
                across[x] = reflected(column.start + x, width);
            }
            int at = 0;
            for (int y = 0; y < model.height(); y++) {
                int line = (reflected(row.start + y, height) - top) * width;
                for (int x : across) {
                    int pixel = band[line + x];
                    tile[at++] = scaled[pixel >> 16 & 255];
                    tile[at++] = scaled[pixel >> 8 & 255];
                    tile[at++] = scaled[pixel & 255];
                }
            }
        }

        /** Fades the tile's left edge with what the tile before left; returns its own share. */
        private float[] blendAcross(Span row, Span column, float[] left) {
            float[] fadeIn = fadeInWeights(column.fadeIn);
            float[] fadeOut = fadeInWeights(column.fadeOut);
            int rows = row.last - row.first;
            float[] share = new float[rows * column.fadeOut * 3];
            for (int y = 0; y < rows; y++) {
                int line = at(row, column, row.first + y, column.first);
                for (int i = 0; i < 3 * column.fadeIn; i++) {
                    float own = fadeIn[i / 3] * restored[line + i];
                    restored[line + i] = left[y * column.fadeIn * 3 + i] + own;
                }
                int tail = at(row, column, row.first + y, column.last - column.fadeOut);
                for (int i = 0; i < 3 * column.fadeOut; i++) {
                    float weight = fadeOut[column.fadeOut - 1 - i / 3];
                    share[y * column.fadeOut * 3 + i] = weight * restored[tail + i];
                }
            }
            return share;
        }

        /** Fades the complete columns with the row above, keeps the lower share, stores the rest. */
        private void blendDown(Span row, Span column, float[] above, float[] below, int[] result) {
            float[] fadeIn = fadeInWeights(row.fadeIn);
            float[] fadeOut = fadeInWeights(row.fadeOut);
            int complete = row.last - row.first - row.fadeOut;
            int last = column.last - column.fadeOut;
            for (int y = 0; y < row.last - row.first; y++) {
                int at = at(row, column, row.first + y, column.first);
                for (int x = column.first; x < last; x++, at += 3) {
                    for (int channel = 0; channel < 3; channel++) {
                        if (y < row.fadeIn) {
                            float own = fadeIn[y] * restored[at + channel];
                            restored[at + channel] = above[(y * width + x) * 3 + channel] + own;
                        }
                        if (y >= complete) {
                            below[((y - complete) * width + x) * 3 + channel] =
                                    fadeOut[row.fadeOut - 1 - (y - complete)]
                                            * restored[at + channel];
                        }
                    }
                    if (y < complete) {
                        result[y * width + x] =
                                level(restored[at]) << 16
                                        | level(restored[at + 1]) << 8
                                        | level(restored[at + 2]);
                    }
                }
            }
        }

        /** Where a pixel of the image lies in the tile's values. */
        private int at(Span row, Span column, int y, int x) {
            return ((y - row.start) * model.width() + x - column.start) * 3;
        }
    }
}
