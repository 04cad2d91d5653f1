package org.kerasskd.demo;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.List;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Restores one photograph at a time on a thread of its own. Knows nothing of screens: whoever
 * listens is told, and may come and go. All its files lie in one folder, which is empty when there
 * is neither a job nor a result.
 */
final class Restorer {
    /** Gives the photograph's bytes. */
    interface Opener {
        InputStream open() throws IOException;
    }

    /** Is told, by the executor for it, that the status is another. */
    interface Listener {
        void changed(Status status);
    }

    enum State {
        IDLE,
        RUNNING,
        DONE,
        FAILED
    }

    /** What there is to show. */
    static final class Status {
        final State state;
        /** Tiles; both 0 while the photograph is read and the model opened. */
        final int done;

        final int total;
        final Result result;
        final PhotoException error;

        private Status(State state, int done, int total, Result result, PhotoException error) {
            this.state = state;
            this.done = done;
            this.total = total;
            this.result = result;
            this.error = error;
        }

        static Status idle() {
            return new Status(State.IDLE, 0, 0, null, null);
        }

        static Status running(int done, int total) {
            return new Status(State.RUNNING, done, total, null, null);
        }

        static Status done(Result result) {
            return new Status(State.DONE, 0, 0, result, null);
        }

        static Status failed(PhotoException error) {
            return new Status(State.FAILED, 0, 0, null, error);
        }
    }

    /** What is to be done. */
    static final class Request {
        /** Null if the photograph lies in the folder already. */
        final Opener source;
        /** The photograph's name, for the result's. */
        final String name;

        final Models.Entry model;
        final ModelRunner.Options options;

        Request(Opener source, String name, Models.Entry model, ModelRunner.Options options) {
            this.source = source;
            this.name = name;
            this.model = model;
            this.options = options;
        }
    }

    private static final String RESULT = "result.properties";

    private final File folder;
    private final Executor listening;
    private final ExecutorService worker = Executors.newSingleThreadExecutor();
    private final OpenModel opened = new OpenModel();
    private Status status = Status.idle();
    private Listener listener;
    private Job job;

    /**
     * @param folder for its files; made if missing
     * @param listening runs what the listener is told
     */
    Restorer(File folder, Executor listening) {
        this.folder = folder;
        this.listening = listening;
    }

    synchronized Status status() {
        return status;
    }

    /** Sets who is told of changes; null for nobody. */
    synchronized void listen(Listener newListener) {
        listener = newListener;
    }

    /** Starts a job; one that runs is cancelled. */
    synchronized void start(Request request) {
        if (job != null) {
            job.cancelled = true;
        }
        job = new Job(request);
        set(job, Status.running(0, 0));
        worker.execute(job);
    }

    /** Ends the job or forgets the result; nothing of either is left behind. */
    synchronized void clear() {
        if (job != null) {
            job.cancelled = true;
        }
        job = null;
        status = Status.idle();
        worker.execute(() -> delete(folder));
        tell();
    }

    /** Takes up what a former process left: its result, or its job, which starts anew. */
    synchronized void resume(List<Models.Entry> models, ModelRunner.Options options) {
        if (status.state != State.IDLE) {
            return;
        }
        Result result = Result.load(new File(folder, RESULT));
        Request unfinished = JobFile.load(folder, models, options);
        if (result != null) {
            status = Status.done(result);
            tell();
        } else if (unfinished != null) {
            start(unfinished);
        }
    }

    private synchronized boolean set(Job of, Status newStatus) {
        if (of != job || of.cancelled) {
            return false;
        }
        status = newStatus;
        tell();
        return true;
    }

    private void tell() {
        listening.execute(
                () -> {
                    Listener current;
                    Status now;
                    synchronized (this) {
                        current = listener;
                        now = status;
                    }
                    if (current != null) {
                        current.changed(now);
                    }
                });
    }

    private static void delete(File folder) {
        File[] files = folder.listFiles();
        for (File file : files == null ? new File[0] : files) {
            file.delete();
        }
        folder.delete();
    }

    /** One photograph. */
    private final class Job implements Runnable {
        private final Request request;
        private volatile boolean cancelled;

        Job(Request request) {
            this.request = request;
        }

        @Override
        public void run() {
            if (request.source != null || cancelled) {
                delete(folder);
            }
            if (cancelled) {
                return;
            }
            try {
                Result result = restored();
                result.store(new File(folder, RESULT));
                if (!set(this, Status.done(result))) {
                    delete(folder);
                }
            } catch (Exception | OutOfMemoryError e) {
                delete(folder);
                set(this, Status.failed(PhotoException.of(e)));
            }
        }

        private Result restored() throws Exception {
            long start = System.nanoTime();
            if (!folder.isDirectory() && !folder.mkdirs()) {
                throw new PhotoException(PhotoException.Kind.NO_SPACE, folder.getPath());
            }
            File source = new File(folder, "source");
            if (request.source != null) {
                copy(source);
                JobFile.store(folder, request);
            }
            try (Photo photo = new Photo(source)) {
                ModelRunner runner = opened.on(request.model, request.options);
                PhotoFile target = new PhotoFile(photo, folder, request.name, request.model.task);
                int tiles = Tiling.count(photo.width(), photo.height(), runner);
                try {
                    write(photo, runner, target);
                } catch (Tiling.CancelledException | IOException e) {
                    throw e;
                } catch (RuntimeException e) {
                    if (runner.execution().device == Execution.Device.CPU) {
                        throw new PhotoException(PhotoException.Kind.MODEL, e);
                    }
                    // The GPU gave up in the middle, for want of memory for example.
                    runner = opened.onCpu(request.model, request.options, e);
                    write(photo, runner, target);
                }
                return new Result(
                        source,
                        target.file,
                        target.mimeType,
                        target.name,
                        photo.orientation,
                        runner.execution(),
                        tiles,
                        runner.millisecondsPerTile(),
                        (System.nanoTime() - start) / 1e9);
            }
        }

        private void copy(File target) throws IOException {
            try (InputStream in = opened();
                    OutputStream out = new FileOutputStream(target)) {
                byte[] buffer = new byte[1 << 16];
                for (int n; (n = in.read(buffer)) > 0; ) {
                    stopIfCancelled();
                    out.write(buffer, 0, n);
                }
            }
        }

        private InputStream opened() throws IOException {
            try {
                InputStream in = request.source.open();
                if (in != null) {
                    return in;
                }
                throw new PhotoException(PhotoException.Kind.UNREADABLE, request.name);
            } catch (RuntimeException e) { // whatever the other app throws, and no permission
                throw new PhotoException(PhotoException.Kind.UNREADABLE, e);
            }
        }

        private void write(Photo photo, ModelRunner runner, PhotoFile target) throws IOException {
            runner.resetTimes();
            try (PhotoWriter writer = target.writer()) {
                Tiling.restore(
                        photo,
                        runner,
                        writer,
                        (done, total) -> set(this, Status.running(done, total)));
                writer.finish();
            }
            stopIfCancelled();
            target.complete();
        }

        private void stopIfCancelled() {
            if (cancelled) {
                throw new Tiling.CancelledException();
            }
        }
    }
}
