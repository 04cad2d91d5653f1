package org.kerasskd.demo;

import android.Manifest;
import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.ClipData;
import android.content.Intent;
import android.content.SharedPreferences;
import android.content.pm.PackageManager;
import android.net.Uri;
import android.os.Build;
import android.os.Bundle;
import android.provider.MediaStore;
import android.view.View;
import android.widget.CompoundButton;
import android.widget.ProgressBar;
import android.widget.RadioButton;
import android.widget.RadioGroup;
import android.widget.Switch;
import android.widget.TextView;
import java.io.File;
import java.util.List;

/** Picks a photograph, shows how its restoration goes on, and hands over to the result. */
public final class MainActivity extends Activity {
    private static final int PICK = 1;
    private static final int CAMERA = 2;
    private static final int SAVE = 3;

    private List<Models.Entry> models;
    private Restorer restorer;
    private SharedPreferences choices;
    private ResultPanel resultPanel;
    private RadioGroup tasks;
    private TextView message;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.main);
        restorer = ((DemoApplication) getApplication()).restorer();
        models = Models.bundled(getAssets());
        choices = getSharedPreferences("choices", MODE_PRIVATE);
        message = findViewById(R.id.message);
        resultPanel = new ResultPanel(this);
        tasks = findViewById(R.id.tasks);
        for (int i = 0; i < models.size(); i++) {
            RadioButton button = new RadioButton(this);
            button.setId(1 + i);
            button.setText(Texts.task(getResources(), models.get(i)));
            button.setMinHeight(getResources().getDimensionPixelSize(R.dimen.touch));
            tasks.addView(button);
        }
        tasks.check(1 + Math.min(choices.getInt("task", 0), models.size() - 1));
        tasks.setOnCheckedChangeListener(
                (group, id) -> choices.edit().putInt("task", id - 1).apply());
        bind(findViewById(R.id.use_gpu), "gpu");
        bind(findViewById(R.id.use_float16), "float16");
        findViewById(R.id.pick).setOnClickListener(view -> pick());
        findViewById(R.id.camera).setOnClickListener(view -> takePhoto());
        findViewById(R.id.cancel).setOnClickListener(view -> restorer.clear());
        findViewById(R.id.self_check)
                .setOnClickListener(
                        view -> startActivity(new Intent(this, SelfCheckActivity.class)));
        findViewById(R.id.save).setOnClickListener(view -> save());
        findViewById(R.id.share).setOnClickListener(view -> share());
        findViewById(R.id.again).setOnClickListener(view -> restorer.clear());
        if (saved == null && isShared(getIntent())) {
            receive(getIntent());
        } else {
            restorer.resume(models, options());
        }
    }

    private void bind(Switch toggle, String choice) {
        toggle.setChecked(choices.getBoolean(choice, true));
        toggle.setOnCheckedChangeListener(
                (CompoundButton button, boolean on) ->
                        choices.edit().putBoolean(choice, on).apply());
    }

    private ModelRunner.Options options() {
        ModelRunner.Options options = new ModelRunner.Options();
        options.gpu = choices.getBoolean("gpu", true);
        options.float16 = choices.getBoolean("float16", true);
        options.cacheFolder = getCodeCacheDir().getPath(); // emptied where the app is updated
        return options;
    }

    @Override
    protected void onStart() {
        super.onStart();
        restorer.listen(this::show);
        show(restorer.status());
    }

    @Override
    protected void onStop() {
        restorer.listen(null);
        super.onStop();
    }

    @Override
    protected void onDestroy() {
        resultPanel.close();
        super.onDestroy();
    }

    @Override
    protected void onNewIntent(Intent intent) {
        super.onNewIntent(intent);
        if (isShared(intent)) {
            receive(intent);
        }
    }

    private static boolean isShared(Intent intent) {
        return Intent.ACTION_SEND.equals(intent.getAction());
    }

    // The typed successor came with API level 33.
    @SuppressWarnings("deprecation")
    private void receive(Intent intent) {
        Uri photo = intent.getParcelableExtra(Intent.EXTRA_STREAM);
        if (photo != null) {
            restore(photo);
        }
    }

    private void show(Restorer.Status status) {
        boolean running = status.state == Restorer.State.RUNNING;
        boolean done = status.state == Restorer.State.DONE;
        findViewById(R.id.start).setVisibility(running || done ? View.GONE : View.VISIBLE);
        findViewById(R.id.progress).setVisibility(running ? View.VISIBLE : View.GONE);
        findViewById(R.id.result).setVisibility(done ? View.VISIBLE : View.GONE);
        resultPanel.show(status.result);
        if (running) {
            ProgressBar bar = findViewById(R.id.bar);
            bar.setIndeterminate(status.total == 0);
            bar.setMax(status.total);
            bar.setProgress(status.done);
            TextView text = findViewById(R.id.tiles);
            text.setText(
                    status.total == 0
                            ? getString(R.string.opening)
                            : getString(R.string.tile_of, status.done, status.total));
            say("");
        } else if (status.state == Restorer.State.FAILED) {
            String words = getString(Texts.failure(status.error.kind));
            if (status.error.kind == PhotoException.Kind.MODEL) {
                words += " " + Texts.brief(String.valueOf(status.error.getMessage()));
            }
            say(words);
        }
    }

    /** Says one sentence; empty for none. */
    void say(String words) {
        message.setText(words);
        message.setVisibility(words.isEmpty() ? View.GONE : View.VISIBLE);
    }

    private void pick() {
        Intent intent;
        if (Build.VERSION.SDK_INT >= 33) {
            intent = new Intent(MediaStore.ACTION_PICK_IMAGES);
        } else {
            intent = new Intent(Intent.ACTION_GET_CONTENT).addCategory(Intent.CATEGORY_OPENABLE);
        }
        launch(intent.setType("image/*"), PICK);
    }

    private void takePhoto() {
        Uri place = PhotoProvider.camera();
        Intent intent = new Intent(MediaStore.ACTION_IMAGE_CAPTURE);
        intent.putExtra(MediaStore.EXTRA_OUTPUT, place);
        intent.setClipData(ClipData.newRawUri("", place));
        intent.addFlags(
                Intent.FLAG_GRANT_WRITE_URI_PERMISSION | Intent.FLAG_GRANT_READ_URI_PERMISSION);
        launch(intent, CAMERA);
    }

    private void launch(Intent intent, int code) {
        say("");
        try {
            startActivityForResult(intent, code);
        } catch (ActivityNotFoundException | SecurityException e) {
            say(getString(code == CAMERA ? R.string.error_no_camera : R.string.error_no_picker));
        }
    }

    @Override
    protected void onActivityResult(int code, int result, Intent data) {
        super.onActivityResult(code, result, data);
        File camera = PhotoProvider.cameraFile(this);
        if (code == CAMERA && result == RESULT_OK && camera.length() > 0) {
            start(Sources.once(camera), getString(R.string.camera_name));
        } else if (code == CAMERA) {
            camera.delete();
        } else if (code == PICK && result == RESULT_OK && data != null && data.getData() != null) {
            restore(data.getData());
        }
    }

    private void restore(Uri photo) {
        start(
                Sources.of(getApplicationContext(), photo),
                Sources.name(this, photo, getString(R.string.photo_name)));
    }

    private void start(Restorer.Opener source, String name) {
        Models.Entry model = models.get(Math.max(0, tasks.getCheckedRadioButtonId() - 1));
        restorer.start(new Restorer.Request(source, name, model, options()));
    }

    private void save() {
        if (Gallery.needsPermission(this)) {
            requestPermissions(new String[] {Manifest.permission.WRITE_EXTERNAL_STORAGE}, SAVE);
        } else {
            resultPanel.save();
        }
    }

    @Override
    public void onRequestPermissionsResult(int code, String[] permissions, int[] granted) {
        if (code == SAVE && granted.length > 0) {
            if (granted[0] == PackageManager.PERMISSION_GRANTED) {
                resultPanel.save();
            } else {
                say(getString(R.string.error_no_permission));
            }
        }
    }

    private void share() {
        Result result = restorer.status().result;
        if (result == null) {
            return;
        }
        Uri picture = PhotoProvider.result(result);
        Intent intent = new Intent(Intent.ACTION_SEND).setType(result.mimeType);
        intent.putExtra(Intent.EXTRA_STREAM, picture);
        intent.setClipData(ClipData.newRawUri(result.name, picture));
        intent.addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION);
        startActivity(Intent.createChooser(intent, getString(R.string.share)));
    }
}
