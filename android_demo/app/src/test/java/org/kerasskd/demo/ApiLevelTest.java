package org.kerasskd.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.io.FileInputStream;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.codehaus.mojo.animal_sniffer.SignatureChecker;
import org.codehaus.mojo.animal_sniffer.logging.Logger;
import org.junit.Test;

/** The app calls nothing that API level 24 lacks, but for what NewerApi guards. */
public class ApiLevelTest {
    private static List<String> missing(String... annotations) throws Exception {
        File signature =
                new File(System.getProperty("app.build"), "aar/android-api-level-24.signature");
        List<String> missing = new ArrayList<>();
        Logger logger =
                (Logger)
                        java.lang.reflect.Proxy.newProxyInstance(
                                Logger.class.getClassLoader(),
                                new Class<?>[] {Logger.class},
                                (proxy, method, arguments) -> {
                                    if (method.getName().equals("error")) {
                                        missing.add((String) arguments[0]);
                                    }
                                    return null;
                                });
        try (InputStream in = new FileInputStream(signature)) {
            Set<String> own = Set.of("org.kerasskd.demo.*", "org.tensorflow.lite.*");
            SignatureChecker checker = new SignatureChecker(in, own, logger);
            checker.setSourcePath(List.of());
            checker.setAnnotationTypes(List.of(annotations));
            checker.process(new File(System.getProperty("app.classes")));
            assertEquals(checker.isSignatureBroken(), !missing.isEmpty());
        }
        return missing;
    }

    @Test
    public void nothingIsMissing() throws Exception {
        assertEquals(List.of(), missing("org.kerasskd.demo.NewerApi$Guarded"));
    }

    /** Without regard to the guards the newer calls are found, and in NewerApi alone. */
    @Test
    public void newerCallsWouldBeFound() throws Exception {
        List<String> missing = missing();
        assertFalse(missing.isEmpty());
        assertTrue(missing.stream().anyMatch(line -> line.contains("ColorSpace")));
        for (String line : missing) {
            assertTrue(line, line.contains("NewerApi"));
        }
    }
}
