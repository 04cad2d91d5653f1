package org.kerasskd.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import org.junit.After;
import org.junit.Before;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.gpu.GpuDelegate;

/** The real students, on the real kernels; what a GPU may do wrong is told to the stand-in. */
public class ModelRunnerTest {
    @Rule public final TemporaryFolder folder = new TemporaryFolder();
    private final ModelRunner.Options options = new ModelRunner.Options();
    private ByteBuffer model;
    private TileCheck check;

    @Before
    public void open() throws Exception {
        GpuDelegate.reset();
        model = Fixtures.student("fp16").model();
        check = Fixtures.student("fp16").check();
    }

    @After
    public void nothingStaysOpen() {
        assertEquals("interpreters", 0, Interpreter.open);
        assertEquals("delegates", 0, GpuDelegate.open);
    }

    @Test
    public void cpuComputesWhatPythonDoes() throws Exception {
        // Two builds of the same kernels: they differ in the order of sums.
        try (ModelRunner runner = ModelRunner.onCpu(model, 2)) {
            assertTrue(runner.psnr(check) > 60);
            assertEquals(Execution.Device.CPU, runner.execution().device);
            assertEquals(2, runner.execution().threads);
        }
        ByteBuffer int8 = Fixtures.student("int8").model();
        try (ModelRunner runner = ModelRunner.onCpu(int8, 2)) {
            assertTrue(runner.psnr(Fixtures.student("int8").check()) > 40);
        }
    }

    @Test
    public void aWholeGraphOnTheGpu() throws Exception {
        try (ModelRunner runner = ModelRunner.open(model, options, check)) {
            Execution execution = runner.execution();
            assertEquals(Execution.Device.GPU, execution.device);
            assertTrue(execution.operations > 300);
            assertEquals(execution.operations, execution.delegated);
            assertFalse(execution.isPartial());
            assertEquals(Execution.Fallback.NONE, execution.fallback);
            assertTrue(GpuDelegate.precisionLossAllowed);
        }
        options.float16 = false;
        try (ModelRunner runner = ModelRunner.open(model, options, check)) {
            assertFalse(GpuDelegate.precisionLossAllowed);
            assertFalse(runner.execution().float16);
        }
    }

    @Test
    public void aPartOfTheGraphIsNoticed() throws Exception {
        GpuDelegate.planLength = 12;
        try (ModelRunner runner = ModelRunner.open(model, options, check)) {
            Execution execution = runner.execution();
            assertEquals(execution.operations - 11, execution.delegated);
            assertTrue(execution.isPartial());
        }
    }

    @Test
    public void delegatedOperationsAreCounted() {
        assertEquals(441, ModelRunner.delegated(441, 1));
        assertEquals(439, ModelRunner.delegated(441, 3));
        assertEquals(0, ModelRunner.delegated(441, 441)); // nothing was replaced
        assertEquals(1, ModelRunner.delegated(1, 1));
        assertEquals(-1, ModelRunner.delegated(441, -1));
        assertEquals(-1, ModelRunner.delegated(-1, 1));
    }

    @Test
    public void withoutAGpuTheCpuIsUsed() throws Exception {
        GpuDelegate.Behaviour[] failures = {
            GpuDelegate.Behaviour.NO_LIBRARY,
            GpuDelegate.Behaviour.REFUSES_DELEGATE,
            GpuDelegate.Behaviour.REFUSES_GRAPH
        };
        String[] words = {"dlopen failed", "no OpenCL", "Mean calculation"};
        for (int i = 0; i < failures.length; i++) {
            GpuDelegate.behaviour = failures[i];
            try (ModelRunner runner = ModelRunner.open(model, options, check)) {
                Execution execution = runner.execution();
                assertEquals(Execution.Device.CPU, execution.device);
                assertEquals(Execution.Fallback.UNAVAILABLE, execution.fallback);
                assertTrue(execution.detail, execution.detail.contains(words[i]));
                assertTrue(runner.psnr(check) > 60);
            }
        }
    }

    @Test
    public void aGpuThatIsWrongIsRefused() throws Exception {
        GpuDelegate.behaviour = GpuDelegate.Behaviour.WRONG;
        try (ModelRunner runner = ModelRunner.open(model, options, check)) {
            assertEquals(Execution.Device.CPU, runner.execution().device);
            assertEquals(Execution.Fallback.WRONG, runner.execution().fallback);
            assertTrue(runner.execution().detail.endsWith(" dB"));
        }
        try (ModelRunner runner = ModelRunner.onGpu(model, options)) {
            assertTrue(runner.psnr(check) < TileCheck.LEAST); // for the self-check's table
        }
    }

    @Test
    public void theUserMayForgoTheGpu() throws Exception {
        options.gpu = false;
        try (ModelRunner runner = ModelRunner.open(model, options, check)) {
            assertEquals(Execution.Device.CPU, runner.execution().device);
            assertEquals(Execution.Fallback.NONE, runner.execution().fallback);
        }
    }

    @Test
    public void whatIsNoModelIsRefused() {
        byte[] nonsense = "This is no model.".repeat(9).getBytes();
        ByteBuffer file = ByteBuffer.allocateDirect(nonsense.length);
        file.put(nonsense).rewind();
        assertEquals(-1, ModelFile.operations(file));
        assertThrows(
                ModelRunner.UnavailableException.class, () -> ModelRunner.onCpu(file, 1).close());
        assertEquals(-1, ModelFile.operations(ByteBuffer.allocateDirect(3)));
        assertEquals(-1, ModelFile.operations(model.duplicate().limit(400).slice()));
    }

    @Test
    public void psnrIsOfTheResidual() {
        float[] tile = {0.5f, 0.5f, 0.5f, 0.5f};
        float[] expected = {0.6f, 0.5f, 0.5f, 0.5f};
        TileCheck one = new TileCheck(tile, expected);
        assertEquals(Double.POSITIVE_INFINITY, one.psnr(expected), 0);
        // The whole residual is wrong: peak 0.1, root mean square 0.05.
        assertEquals(20 * Math.log10(2), one.psnr(tile), 1e-5);
        assertEquals(
                Double.NEGATIVE_INFINITY, one.psnr(new float[] {Float.NaN, 0, 0, 0}), 0);
    }

    @Test
    public void bigCoresAreThoseFasterThanTheSlowest() throws IOException {
        long[] frequencies = {1800, 1800, 1800, 1800, 2400, 2400, 2400, 2900};
        for (int core = 0; core < frequencies.length; core++) {
            File place = folder.newFolder("cpu" + core, "cpufreq");
            Files.writeString(
                    new File(place, "cpuinfo_max_freq").toPath(), frequencies[core] + "000\n");
        }
        assertEquals(4, BigCores.count(folder.getRoot(), 8));
        assertEquals(4, BigCores.count(folder.getRoot(), 4)); // all alike
        assertEquals(9, BigCores.count(folder.getRoot(), 9)); // one is not told
        assertEquals(3, BigCores.count(new File("/nowhere"), 3));
    }
}
