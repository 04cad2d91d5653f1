package org.kerasskd.demo;

import android.content.Context;
import android.graphics.Canvas;
import android.graphics.Matrix;
import android.graphics.Paint;
import android.graphics.Rect;
import android.graphics.RectF;
import android.util.AttributeSet;
import android.view.MotionEvent;
import android.view.ScaleGestureDetector;
import android.view.View;

/**
 * Two pictures above each other with a line between: the photograph left of it, the restored one to
 * the right. One finger moves the line, or the enlarged picture away from the line; two enlarge.
 */
public final class CompareView extends View {
    /** Loads the parts that are looked at, somewhere else. */
    interface DetailLoader {
        /** Both pictures' part is wanted; {@link #setDetail} is to be called with it. */
        void load(Rect place, int sample);
    }

    /** Is told that a finger moved the line. */
    interface SplitListener {
        void moved(float split);
    }

    private static final float LARGEST = 16;

    private final Paint smooth = new Paint(Paint.FILTER_BITMAP_FLAG);
    private final Paint exact = new Paint();
    private final Paint line = new Paint(Paint.ANTI_ALIAS_FLAG);
    private final Matrix toView = new Matrix();
    private final Matrix fit = new Matrix();
    private final RectF shown = new RectF();
    private final float density = getResources().getDisplayMetrics().density;
    private final ScaleGestureDetector pinch;
    private Picture before;
    private Picture after;
    private int orientation = 1;
    private Picture.Detail detailBefore;
    private Picture.Detail detailAfter;
    private DetailLoader loader;
    private SplitListener splitListener;
    private float split = 0.5f;
    private float scale = 1;
    /** Pixels of the view for one of the photograph. */
    private float pixelZoom;

    private float centreX = 0.5f;
    private float centreY = 0.5f;
    private float lastX;
    private float lastY;
    private boolean movesLine;
    private boolean oneFinger;

    public CompareView(Context context, AttributeSet attributes) {
        super(context, attributes);
        line.setColor(0xFFFFFFFF);
        line.setStrokeWidth(2 * density);
        line.setShadowLayer(2 * density, 0, 0, 0xA0000000);
        pinch =
                new ScaleGestureDetector(
                        context,
                        new ScaleGestureDetector.SimpleOnScaleGestureListener() {
                            @Override
                            public boolean onScale(ScaleGestureDetector detector) {
                                zoom(detector.getScaleFactor(), detector.getFocusX(),
                                        detector.getFocusY());
                                return true;
                            }
                        });
    }

    /** Shows two pictures of one size; null for none. */
    void show(Picture newBefore, Picture newAfter, int newOrientation) {
        before = newBefore;
        after = newAfter;
        orientation = newOrientation;
        detailBefore = detailAfter = null;
        scale = 1;
        centreX = centreY = 0.5f;
        requestDetail();
        invalidate();
    }

    /** Whether there is something to see. */
    boolean hasPictures() {
        return before != null;
    }

    void setLoader(DetailLoader newLoader, SplitListener newSplitListener) {
        loader = newLoader;
        splitListener = newSplitListener;
    }

    /** The part that was asked for; kept only if it is of the pictures that are shown. */
    void setDetail(Picture of, Picture.Detail newBefore, Picture.Detail newAfter) {
        if (of == before) {
            detailBefore = newBefore;
            detailAfter = newAfter;
            invalidate();
        }
    }

    /** Where the line is, 0 (left) to 1. */
    void setSplit(float newSplit) {
        split = Math.max(0, Math.min(1, newSplit));
        invalidate();
    }

    /** How much the picture is enlarged over fitting the screen. */
    float scale() {
        return scale;
    }

    /** Enlarges about a point of the view. */
    void zoom(float factor, float focusX, float focusY) {
        float target = Math.max(1, Math.min(LARGEST, scale * factor));
        place();
        if (shown.isEmpty()) {
            return;
        }
        float x = (focusX - shown.left) / shown.width();
        float y = (focusY - shown.top) / shown.height();
        // The point under the fingers stays there.
        float grown = target / scale;
        scale = target;
        centreX = (getWidth() / 2f - focusX) / (shown.width() * grown) + x;
        centreY = (getHeight() / 2f - focusY) / (shown.height() * grown) + y;
        requestDetail();
        invalidate();
    }

    @Override
    protected void onSizeChanged(int width, int height, int oldWidth, int oldHeight) {
        requestDetail();
    }

    /** Computes where the picture lies in the view. */
    private void place() {
        if (before == null) {
            shown.setEmpty();
            return;
        }
        boolean sideways = Orientation.isSideways(orientation);
        float width = sideways ? before.height : before.width;
        float height = sideways ? before.width : before.height;
        pixelZoom = scale * Math.min(getWidth() / width, getHeight() / height);
        centreX = inside(centreX, getWidth() / (width * pixelZoom));
        centreY = inside(centreY, getHeight() / (height * pixelZoom));
        shown.set(0, 0, width * pixelZoom, height * pixelZoom);
        shown.offset(
                getWidth() / 2f - centreX * shown.width(),
                getHeight() / 2f - centreY * shown.height());
        toView.set(Orientation.matrix(orientation, before.width, before.height));
        toView.postScale(pixelZoom, pixelZoom);
        toView.postTranslate(shown.left, shown.top);
    }

    /** Keeps the view, of a share {@code part} of the picture, within it. */
    private static float inside(float centre, float part) {
        return part >= 1 ? 0.5f : Math.max(part / 2, Math.min(1 - part / 2, centre));
    }

    private void requestDetail() {
        place();
        if (loader == null || shown.isEmpty() || !before.hasDetail() || !after.hasDetail()) {
            return;
        }
        float smallZoom = (float) before.small.getWidth() / before.width;
        if (pixelZoom <= smallZoom * 1.1f) {
            detailBefore = detailAfter = null;
            return;
        }
        Matrix back = new Matrix();
        RectF part = new RectF(0, 0, getWidth(), getHeight());
        if (!toView.invert(back) || !part.intersect(shown)) {
            return;
        }
        back.mapRect(part);
        Rect place = new Rect();
        part.roundOut(place);
        if (place.intersect(0, 0, before.width, before.height)) {
            int sample = Math.max(1, Integer.highestOneBit((int) (1 / pixelZoom)));
            loader.load(place, sample);
        }
    }

    @Override
    protected void onDraw(Canvas canvas) {
        super.onDraw(canvas);
        place();
        if (shown.isEmpty()) {
            return;
        }
        float at = split * getWidth();
        canvas.save();
        canvas.clipRect(0, 0, at, getHeight());
        draw(canvas, before, detailBefore);
        canvas.restore();
        canvas.save();
        canvas.clipRect(at, 0, getWidth(), getHeight());
        draw(canvas, after, detailAfter);
        canvas.restore();
        canvas.drawLine(at, 0, at, getHeight(), line);
        canvas.drawCircle(at, getHeight() / 2f, 9 * density, line);
    }

    private void draw(Canvas canvas, Picture picture, Picture.Detail detail) {
        canvas.save();
        canvas.concat(toView);
        // Beyond three view pixels for one of the photograph its own pixels are looked for.
        Paint paint = pixelZoom > 3 ? exact : smooth;
        fit.setScale(
                (float) picture.width / picture.small.getWidth(),
                (float) picture.height / picture.small.getHeight());
        canvas.drawBitmap(picture.small, fit, paint);
        if (detail != null) {
            canvas.drawBitmap(detail.bitmap, null, detail.place, paint);
        }
        canvas.restore();
    }

    @Override
    public boolean onTouchEvent(MotionEvent event) {
        pinch.onTouchEvent(event);
        switch (event.getActionMasked()) {
            case MotionEvent.ACTION_DOWN:
                boolean nearLine = Math.abs(event.getX() - split * getWidth()) < 32 * density;
                movesLine = scale == 1 || nearLine;
                oneFinger = true;
                lastX = event.getX();
                lastY = event.getY();
                return true;
            case MotionEvent.ACTION_POINTER_DOWN:
                oneFinger = false; // till all are lifted, or the picture would jump
                return true;
            case MotionEvent.ACTION_MOVE:
                drag(event);
                return true;
            case MotionEvent.ACTION_UP:
                performClick();
                return true;
            default:
                return true;
        }
    }

    private void drag(MotionEvent event) {
        float x = event.getX() - lastX;
        float y = event.getY() - lastY;
        lastX = event.getX();
        lastY = event.getY();
        if (!oneFinger) {
            return;
        }
        if (movesLine) {
            setSplit(event.getX() / getWidth());
            if (splitListener != null) {
                splitListener.moved(split);
            }
        } else if (!shown.isEmpty()) {
            centreX -= x / shown.width();
            centreY -= y / shown.height();
            requestDetail();
            invalidate();
        }
    }

    @Override
    public boolean performClick() {
        return super.performClick();
    }
}
