package org.kerasskd.demo;

import android.opengl.EGL14;
import android.opengl.EGLConfig;
import android.opengl.EGLContext;
import android.opengl.EGLDisplay;
import android.opengl.EGLSurface;
import android.opengl.GLES20;

/** What the phone's GPU and its driver call themselves. */
final class GpuDriver {
    private GpuDriver() {}

    /** "renderer, version" of OpenGL ES; empty if there is none. */
    static String describe() {
        EGLDisplay display = EGL14.eglGetDisplay(EGL14.EGL_DEFAULT_DISPLAY);
        int[] version = new int[2];
        if (display == null || !EGL14.eglInitialize(display, version, 0, version, 1)) {
            return "";
        }
        try {
            return described(display);
        } finally {
            EGL14.eglMakeCurrent(
                    display, EGL14.EGL_NO_SURFACE, EGL14.EGL_NO_SURFACE, EGL14.EGL_NO_CONTEXT);
            EGL14.eglTerminate(display);
        }
    }

    private static String described(EGLDisplay display) {
        EGLConfig[] configs = new EGLConfig[1];
        int[] count = new int[1];
        int[] wanted = {
            EGL14.EGL_RENDERABLE_TYPE, EGL14.EGL_OPENGL_ES2_BIT,
            EGL14.EGL_SURFACE_TYPE, EGL14.EGL_PBUFFER_BIT, EGL14.EGL_NONE
        };
        if (!EGL14.eglChooseConfig(display, wanted, 0, configs, 0, 1, count, 0) || count[0] < 1) {
            return "";
        }
        int[] es2 = {EGL14.EGL_CONTEXT_CLIENT_VERSION, 2, EGL14.EGL_NONE};
        int[] pixel = {EGL14.EGL_WIDTH, 1, EGL14.EGL_HEIGHT, 1, EGL14.EGL_NONE};
        EGLContext context =
                EGL14.eglCreateContext(display, configs[0], EGL14.EGL_NO_CONTEXT, es2, 0);
        EGLSurface surface = EGL14.eglCreatePbufferSurface(display, configs[0], pixel, 0);
        if (!EGL14.eglMakeCurrent(display, surface, surface, context)) {
            return "";
        }
        String renderer = GLES20.glGetString(GLES20.GL_RENDERER);
        return renderer == null ? "" : renderer + ", " + GLES20.glGetString(GLES20.GL_VERSION);
    }
}
