package org.kerasskd.demo;

import android.app.Application;
import android.os.Handler;
import android.os.Looper;
import java.io.File;

/** Holds the one restorer, which outlives every Activity. */
public final class DemoApplication extends Application {
    private Restorer restorer;

    @Override
    public void onCreate() {
        super.onCreate();
        Handler main = new Handler(Looper.getMainLooper());
        restorer = new Restorer(new File(getFilesDir(), "job"), main::post);
    }

    Restorer restorer() {
        return restorer;
    }
}
