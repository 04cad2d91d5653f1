package org.kerasskd.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.junit.Assume.assumeTrue;

import com.android.apksig.ApkVerifier;
import java.io.File;
import java.io.InputStream;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import org.junit.Test;

/** The APK as it is installed. */
public class ApkTest {
    private static final File BUILD = new File(System.getProperty("app.build"));
    private static final File APK = new File(BUILD, "test.apk");

    private static String said(String... command) throws Exception {
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(said, 0, process.waitFor());
        return said;
    }

    @Test
    public void badging() throws Exception {
        String aapt2 = new File(BUILD, "parts/aapt2_64").getPath();
        String badging = said(aapt2, "dump", "badging", APK.getPath());
        for (String line :
                new String[] {
                    "package: name='org.kerasskd.demo' versionCode='1'",
                    "minSdkVersion:'24'",
                    "targetSdkVersion:'35'",
                    "uses-native-library-not-required:'libOpenCL.so'",
                    "uses-native-library-not-required:'libOpenCL-pixel.so'",
                    "uses-native-library-not-required:'libGLES_mali.so'",
                    "launchable-activity: name='org.kerasskd.demo.MainActivity'",
                    "native-code: 'arm64-v8a' 'x86_64'",
                    "locales: '--_--' 'de'",
                    "application-debuggable"
                }) {
            assertTrue(line + " in " + badging, badging.contains(line));
        }
        // One permission, and that for old phones alone: no internet, no camera, no location.
        List<String> permissions = new ArrayList<>();
        for (String line : badging.split("\n")) {
            if (line.startsWith("uses-permission")) {
                permissions.add(line);
            }
        }
        assertEquals(
                Collections.singletonList(
                        "uses-permission: name='android.permission.WRITE_EXTERNAL_STORAGE'"
                                + " maxSdkVersion='28'"),
                permissions.subList(0, 1));
        for (String line : permissions) {
            assertTrue(line, line.contains("EXTERNAL_STORAGE"));
        }
    }

    @Test
    public void signature() throws Exception {
        ApkVerifier.Result result = new ApkVerifier.Builder(APK).build().verify();
        assertTrue(result.getErrors().toString(), result.isVerified());
        assertTrue(result.isVerifiedUsingV2Scheme());
        assertTrue(result.isVerifiedUsingV3Scheme());
        assertFalse(result.containsErrors());
    }

    @Test
    public void anAlteredApkIsNotVerified() throws Exception {
        File altered = File.createTempFile("altered", ".apk");
        java.nio.file.Files.copy(
                APK.toPath(), altered.toPath(), java.nio.file.StandardCopyOption.REPLACE_EXISTING);
        try (RandomAccessFile file = new RandomAccessFile(altered, "rw")) {
            file.seek(file.length() / 2);
            int value = file.read();
            file.seek(file.length() / 2);
            file.write(value ^ 1);
        }
        assertFalse(new ApkVerifier.Builder(altered).build().verify().isVerified());
        assertTrue(altered.delete());
    }

    @Test
    public void debiansApksignerAgrees() throws Exception {
        File apksigner = new File("/usr/bin/apksigner");
        assumeTrue("apksigner is not installed", apksigner.exists());
        String said = said(apksigner.getPath(), "verify", "--verbose", APK.getPath());
        assertTrue(said, said.contains("Verified using v2 scheme (APK Signature Scheme v2): true"));
    }

    /** Where an entry's content begins in the file. */
    private static long offset(RandomAccessFile file, long header) throws Exception {
        byte[] local = new byte[30];
        file.seek(header);
        file.readFully(local);
        ByteBuffer fields = ByteBuffer.wrap(local).order(ByteOrder.LITTLE_ENDIAN);
        assertEquals(0x04034b50, fields.getInt(0));
        return header + 30 + (fields.getShort(26) & 0xFFFF) + (fields.getShort(28) & 0xFFFF);
    }

    @Test
    public void entriesAreStoredAndAligned() throws Exception {
        Set<String> libraries = new TreeSet<>();
        int models = 0;
        try (RandomAccessFile file = new RandomAccessFile(APK, "r")) {
            byte[] all = new byte[(int) file.length()];
            file.readFully(all);
            ByteBuffer bytes = ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN);
            int end = all.length - 22;
            while (bytes.getInt(end) != 0x06054b50) {
                end--;
            }
            int at = bytes.getInt(end + 16);
            for (int i = bytes.getShort(end + 10); i > 0; i--) {
                int nameLength = bytes.getShort(at + 28);
                String name = new String(all, at + 46, nameLength, StandardCharsets.UTF_8);
                boolean stored = bytes.getShort(at + 10) == 0;
                long offset = offset(file, bytes.getInt(at + 42));
                if (name.endsWith(".so")) {
                    libraries.add(name);
                    assertTrue(name, stored);
                    assertEquals(name, 0, offset % 16384);
                } else if (name.endsWith(".tflite") || name.endsWith(".arsc")) {
                    models += name.endsWith(".tflite") ? 1 : 0;
                    assertTrue(name, stored);
                    assertEquals(name, 0, offset % 4);
                }
                at += 46 + nameLength + bytes.getShort(at + 30) + bytes.getShort(at + 32);
            }
        }
        assertTrue(models > 0);
        assertEquals(
                Set.of(
                        "lib/arm64-v8a/libtensorflowlite_jni.so",
                        "lib/arm64-v8a/libtensorflowlite_gpu_jni.so",
                        "lib/x86_64/libtensorflowlite_jni.so",
                        "lib/x86_64/libtensorflowlite_gpu_jni.so"),
                libraries);
    }

    /** The names of the classes that a dex file defines, by the format's tables. */
    private static Set<String> classes(byte[] dex) {
        ByteBuffer file = ByteBuffer.wrap(dex).order(ByteOrder.LITTLE_ENDIAN);
        Set<String> names = new TreeSet<>();
        int strings = file.getInt(60);
        int types = file.getInt(68);
        int definitions = file.getInt(100);
        for (int i = 0; i < file.getInt(96); i++) {
            int type = file.getInt(definitions + 32 * i);
            int at = file.getInt(strings + 4 * file.getInt(types + 4 * type));
            while (dex[at] < 0) { // the length, of seven bits a byte
                at++;
            }
            int end = ++at;
            while (dex[end] != 0) {
                end++;
            }
            names.add(new String(dex, at + 1, end - at - 2, StandardCharsets.UTF_8));
        }
        return names;
    }

    @Test
    public void classesAreTheAppsAndTheRuntimes() throws Exception {
        Set<String> names;
        try (ZipFile apk = new ZipFile(APK);
                InputStream in = apk.getInputStream(new ZipEntry("classes.dex"))) {
            names = classes(in.readAllBytes());
            assertEquals("one dex file", null, apk.getEntry("classes2.dex"));
        }
        for (String name : names) {
            assertTrue(
                    name,
                    name.startsWith("org/kerasskd/demo/") || name.startsWith("org/tensorflow/lite/")
                            || name.startsWith("com/android/tools/r8/annotations/"));
        }
        for (String name : new String[] {"MainActivity", "Restorer", "Tiling", "ModelRunner"}) {
            assertTrue(name, names.contains("org/kerasskd/demo/" + name));
        }
        assertTrue(names.contains("org/tensorflow/lite/Interpreter"));
        assertTrue(names.contains("org/tensorflow/lite/gpu/GpuDelegate"));
        assertFalse("no test", names.contains("org/kerasskd/demo/Phone"));
    }
}
