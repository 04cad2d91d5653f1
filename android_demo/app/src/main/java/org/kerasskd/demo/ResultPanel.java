package org.kerasskd.demo;

import android.graphics.Rect;
import android.view.View;
import android.widget.SeekBar;
import android.widget.TextView;
import java.io.IOException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;

/** The part of the screen with the result: loads its pictures and saves it, off the main thread. */
final class ResultPanel {
    private static final int STEPS = 1000;

    private final MainActivity activity;
    private final ExecutorService worker = Executors.newSingleThreadExecutor();
    private final CompareView compare;
    private final SeekBar slider;
    /** Only the last of many wishes for detail is fulfilled. */
    private final AtomicInteger wishes = new AtomicInteger();

    private Result shown;
    private Picture before;
    private Picture after;

    ResultPanel(MainActivity activity) {
        this.activity = activity;
        compare = activity.findViewById(R.id.compare);
        slider = activity.findViewById(R.id.slider);
        slider.setMax(STEPS);
        slider.setProgress(STEPS / 2);
        slider.setOnSeekBarChangeListener(
                new SeekBar.OnSeekBarChangeListener() {
                    @Override
                    public void onProgressChanged(SeekBar bar, int progress, boolean byUser) {
                        compare.setSplit((float) progress / STEPS);
                    }

                    @Override
                    public void onStartTrackingTouch(SeekBar bar) {}

                    @Override
                    public void onStopTrackingTouch(SeekBar bar) {}
                });
        compare.setLoader(
                this::loadDetail, split -> slider.setProgress(Math.round(split * STEPS)));
    }

    /** Shows a result; null for none. */
    void show(Result result) {
        if (result == shown) {
            return;
        }
        shown = result;
        before = after = null;
        compare.show(null, null, 1);
        if (result == null) {
            return;
        }
        activity.say("");
        TextView ran = activity.findViewById(R.id.ran);
        ran.setText(Texts.ran(activity.getResources(), result));
        setSaveEnabled(true);
        worker.execute(
                () -> {
                    try {
                        Picture left = new Picture(result.source);
                        Picture right = new Picture(result.file);
                        activity.runOnUiThread(() -> display(result, left, right));
                    } catch (IOException | OutOfMemoryError e) {
                        fail(PhotoException.of(e));
                    }
                });
    }

    private void display(Result result, Picture left, Picture right) {
        if (result == shown) {
            before = left;
            after = right;
            compare.show(left, right, result.orientation);
        }
    }

    private void loadDetail(Rect place, int sample) {
        Picture left = before;
        Picture right = after;
        int wish = wishes.incrementAndGet();
        worker.execute(
                () -> {
                    if (wish != wishes.get()) {
                        return;
                    }
                    Picture.Detail one = left.detail(place, sample);
                    Picture.Detail other = right.detail(place, sample);
                    activity.runOnUiThread(() -> compare.setDetail(left, one, other));
                });
    }

    /** Saves the result to the gallery. */
    void save() {
        Result result = shown;
        if (result == null) {
            return;
        }
        setSaveEnabled(false);
        worker.execute(
                () -> {
                    try {
                        Gallery.save(activity.getApplicationContext(), result);
                        String words = activity.getString(R.string.saved, result.name);
                        activity.runOnUiThread(() -> activity.say(words));
                    } catch (PhotoException e) {
                        fail(e);
                        activity.runOnUiThread(() -> setSaveEnabled(true));
                    }
                });
    }

    private void setSaveEnabled(boolean enabled) {
        View save = activity.findViewById(R.id.save);
        save.setEnabled(enabled);
    }

    private void fail(PhotoException e) {
        activity.runOnUiThread(() -> activity.say(activity.getString(Texts.failure(e.kind))));
    }

    void close() {
        worker.shutdown();
    }
}
