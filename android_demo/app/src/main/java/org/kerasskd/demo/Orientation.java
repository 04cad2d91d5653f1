package org.kerasskd.demo;

import android.graphics.Matrix;

/** The eight EXIF orientations as movements of the plane. */
final class Orientation {
    private Orientation() {}

    /** Whether width and height change places. */
    static boolean isSideways(int orientation) {
        return orientation >= 5;
    }

    /** Maps pixels as stored, {@code width x height}, to where they are shown, from 0 on. */
    static Matrix matrix(int orientation, float width, float height) {
        Matrix matrix = new Matrix();
        switch (orientation) {
            case 2:
                matrix.setValues(new float[] {-1, 0, width, 0, 1, 0, 0, 0, 1});
                break;
            case 3:
                matrix.setValues(new float[] {-1, 0, width, 0, -1, height, 0, 0, 1});
                break;
            case 4:
                matrix.setValues(new float[] {1, 0, 0, 0, -1, height, 0, 0, 1});
                break;
            case 5:
                matrix.setValues(new float[] {0, 1, 0, 1, 0, 0, 0, 0, 1});
                break;
            case 6:
                matrix.setValues(new float[] {0, -1, height, 1, 0, 0, 0, 0, 1});
                break;
            case 7:
                matrix.setValues(new float[] {0, -1, height, -1, 0, width, 0, 0, 1});
                break;
            case 8:
                matrix.setValues(new float[] {0, 1, 0, -1, 0, width, 0, 0, 1});
                break;
            default:
                break;
        }
        return matrix;
    }
}
