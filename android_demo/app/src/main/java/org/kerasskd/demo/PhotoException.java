package org.kerasskd.demo;

import java.io.IOException;

/** Why a photograph cannot be restored or saved; the screen has one sentence for each kind. */
final class PhotoException extends IOException {
    private static final long serialVersionUID = 1;

    enum Kind {
        /** The app that offered it does not give it. */
        UNREADABLE,
        /** No image, or of a kind that the phone does not know. */
        NO_IMAGE,
        /** HEIC or AVIF, and the phone has no decoder. */
        NO_DECODER,
        /** Damaged or cut off. */
        CORRUPT,
        TOO_LARGE,
        NO_SPACE,
        NO_MEMORY,
        /** The model does not run, not even on the CPU. */
        MODEL,
        NO_PERMISSION,
        /** The gallery does not take it. */
        GALLERY
    }

    final Kind kind;

    PhotoException(Kind kind, String message) {
        super(message);
        this.kind = kind;
    }

    PhotoException(Kind kind, Throwable cause) {
        super(cause);
        this.kind = kind;
    }

    /** The kind of any failure on the way from a photograph to the result. */
    static PhotoException of(Throwable e) {
        if (e instanceof PhotoException) {
            return (PhotoException) e;
        }
        if (e instanceof OutOfMemoryError) {
            return new PhotoException(Kind.NO_MEMORY, e);
        }
        if (e instanceof ModelRunner.UnavailableException) {
            return new PhotoException(Kind.MODEL, e);
        }
        if (e instanceof SecurityException) {
            return new PhotoException(Kind.NO_PERMISSION, e);
        }
        for (Throwable cause = e; cause != null; cause = cause.getCause()) {
            // android.system.ErrnoException names the error only in its message.
            String message = String.valueOf(cause.getMessage());
            if (message.contains("ENOSPC") || message.contains("No space left")) {
                return new PhotoException(Kind.NO_SPACE, e);
            }
        }
        return new PhotoException(e instanceof IOException ? Kind.UNREADABLE : Kind.CORRUPT, e);
    }
}
