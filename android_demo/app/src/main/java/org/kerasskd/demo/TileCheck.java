package org.kerasskd.demo;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;

/** A tile and what Python's runtime makes of it: tells whether a device computes a model right. */
final class TileCheck {
    /**
     * Least PSNR of the residual, in dB, at which pictures are made. Right results of float16 have
     * 40 and more, that of a model which does nothing has 0 to 15.
     */
    static final double LEAST = 30;

    final float[] tile;
    final float[] expected;

    /**
     * @param tile RGB in 0..1, by rows
     * @param expected the model's output for it
     */
    TileCheck(float[] tile, float[] expected) {
        if (tile.length != expected.length) {
            throw new IllegalArgumentException(
                    "tile of " + tile.length + " values, output of " + expected.length);
        }
        this.tile = tile;
        this.expected = expected;
    }

    /** Reads little-endian float32 as Python writes it: the tile, then the expected output. */
    static TileCheck read(ByteBuffer content) {
        FloatBuffer values = content.order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
        float[] all = new float[values.remaining()];
        values.get(all);
        int half = all.length / 2;
        return new TileCheck(
                Arrays.copyOf(all, half), Arrays.copyOfRange(all, half, all.length));
    }

    /**
     * PSNR of the residual (output minus tile) in dB, whose peak is the expected residual's own, as
     * keras_skd.export.verification computes it; infinite where equal, minus infinite where the
     * output is not finite.
     */
    double psnr(float[] output) {
        double peak = 0;
        double squares = 0;
        for (int i = 0; i < expected.length; i++) {
            double error = (double) output[i] - expected[i];
            squares += error * error;
            peak = Math.max(peak, Math.abs((double) expected[i] - tile[i]));
        }
        if (Double.isNaN(squares) || Double.isInfinite(squares)) {
            return Double.NEGATIVE_INFINITY;
        }
        if (squares == 0) {
            return Double.POSITIVE_INFINITY;
        }
        return 20 * Math.log10(peak / Math.sqrt(squares / expected.length));
    }
}
