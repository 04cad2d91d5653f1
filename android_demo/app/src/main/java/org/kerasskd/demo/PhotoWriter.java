package org.kerasskd.demo;

import java.io.Closeable;
import java.io.IOException;

/** Writes a photograph from the top down, so that it need never be in memory as a whole. */
abstract class PhotoWriter implements Tiling.Sink, Closeable {
    /** Ends the file; to be called after the last row. The stream stays open till closed. */
    abstract void finish() throws IOException;

    /** A grey pixel of a model's colours: their mean, as keras_skd.restore has it. */
    static int mean(int pixel) {
        // A third is never half way between two levels: rounding is that of every rule.
        return ((pixel >> 16 & 255) + (pixel >> 8 & 255) + (pixel & 255) + 1) / 3;
    }
}
