package org.kerasskd.demo;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.json.JSONArray;
import org.json.JSONObject;
import org.junit.Test;

/** The tiling is Python's, to the last bit. */
public class TilingTest {
    /** An image in memory. */
    static final class Raw implements Tiling.Source, Tiling.Sink {
        final int width;
        final int height;
        final byte[] rgb;
        int rows;

        Raw(int width, int height, byte[] rgb) {
            this.width = width;
            this.height = height;
            this.rgb = rgb;
        }

        @Override
        public int width() {
            return width;
        }

        @Override
        public int height() {
            return height;
        }

        @Override
        public void read(int first, int count, int[] pixels) {
            assertTrue(first >= 0 && count > 0 && first + count <= height);
            for (int i = 0; i < count * width; i++) {
                int at = (first * width + i) * 3;
                pixels[i] =
                        0x80000000
                                | (rgb[at] & 255) << 16
                                | (rgb[at + 1] & 255) << 8
                                | rgb[at + 2] & 255;
            }
        }

        @Override
        public void write(int[] pixels, int count) {
            for (int i = 0; i < count * width; i++) {
                assertEquals("opacity", 0x80, pixels[i] >>> 24);
                int at = (rows * width + i) * 3;
                rgb[at] = (byte) (pixels[i] >> 16);
                rgb[at + 1] = (byte) (pixels[i] >> 8);
                rgb[at + 2] = (byte) pixels[i];
            }
            rows += count;
        }
    }

    /** fixtures.py's model, whose output depends on the place in the tile. */
    static final class StandIn implements Tiling.Model {
        private final int side;

        StandIn(int side) {
            this.side = side;
        }

        @Override
        public int height() {
            return side;
        }

        @Override
        public int width() {
            return side;
        }

        @Override
        public void run(float[] tile, float[] restored) {
            for (int i = 0; i < tile.length; i++) {
                int channel = i % 3;
                int x = i / 3 % side;
                int y = i / 3 / side;
                float factor = 1 + (7 * y + 3 * x) % 16 / 64f;
                float product = tile[i] * factor;
                restored[i] = product + ((5 * y + 11 * x + channel) % 8 / 64f - 1 / 16f);
            }
        }
    }

    private static List<JSONObject> cases() throws Exception {
        String text = new String(Fixtures.bytes("tiling.json"), StandardCharsets.UTF_8);
        JSONArray list = new JSONArray(text);
        List<JSONObject> cases = new ArrayList<>();
        for (int i = 0; i < list.length(); i++) {
            cases.add(list.getJSONObject(i));
        }
        assertTrue(cases.size() >= 10);
        return cases;
    }

    @Test
    public void equalsPythonExactly() throws Exception {
        for (JSONObject one : cases()) {
            String name = one.getString("name");
            int width = one.getInt("width");
            int height = one.getInt("height");
            Raw image = new Raw(width, height, Fixtures.bytes(name + ".in"));
            Raw result = new Raw(width, height, new byte[width * height * 3]);
            Tiling.Model model = new StandIn(one.getInt("tile"));
            int[] told = new int[2];
            Tiling.restore(
                    image,
                    model,
                    result,
                    (done, total) -> {
                        assertEquals(++told[0], done);
                        told[1] = total;
                        return true;
                    });
            assertArrayEquals(name, Fixtures.bytes(name + ".out"), result.rgb);
            assertEquals(Tiling.count(width, height, model), told[1]);
            assertEquals(told[1], told[0]);
        }
    }

    @Test
    public void spansArePythons() throws Exception {
        for (JSONObject one : cases()) {
            JSONArray columns = one.getJSONArray("columns");
            Tiling.Span[] spans = Tiling.spans(one.getInt("width"), one.getInt("tile"));
            assertEquals(columns.length(), spans.length);
            for (int i = 0; i < spans.length; i++) {
                Tiling.Span span = spans[i];
                int[] values = {span.start, span.first, span.last, span.fadeIn, span.fadeOut};
                for (int k = 0; k < values.length; k++) {
                    assertEquals(columns.getJSONArray(i).getInt(k), values[k]);
                }
            }
        }
    }

    /** The comparison above would show a model that ignores the place in the tile. */
    @Test
    public void theVectorsDependOnWhereTilesLie() throws Exception {
        Raw image = new Raw(65, 61, Fixtures.bytes("tiling_65x61_64.in"));
        Raw result = new Raw(65, 61, new byte[65 * 61 * 3]);
        Tiling.restore(image, new StandIn(128), result, (done, total) -> true);
        int different = 0;
        byte[] expected = Fixtures.bytes("tiling_65x61_64.out");
        for (int i = 0; i < expected.length; i++) {
            different += expected[i] == result.rgb[i] ? 0 : 1;
        }
        assertTrue(different > expected.length / 2);
    }

    @Test
    public void cancelStopsAfterTheTile() {
        Raw image = new Raw(300, 300, new byte[300 * 300 * 3]);
        int[] tiles = new int[1];
        assertThrows(
                Tiling.CancelledException.class,
                () ->
                        Tiling.restore(
                                image,
                                new StandIn(64),
                                image,
                                (done, total) -> {
                                    tiles[0] = done;
                                    return done < 3;
                                }));
        assertEquals(3, tiles[0]);
    }

    @Test
    public void levelsRoundToEvenAndClip() {
        float[] values = {-1, 0, 0.5f / 255, 1.5f / 255, 1, 7, Float.NaN};
        int[] expected = {0, 0, 0, 2, 255, 255, 0};
        for (int i = 0; i < values.length; i++) {
            assertEquals(expected[i], Tiling.level(values[i]));
        }
    }

    /** 50 megapixels, cut, blended and written as JPEG, with 48 MB for everything. */
    @Test
    public void fiftyMegapixelsInBoundedMemory() throws Exception {
        File java = new File(System.getProperty("java.home"), "bin/java");
        Process process =
                new ProcessBuilder(
                                java.getPath(),
                                "-Xmx48m",
                                "-cp",
                                System.getProperty("app.classes")
                                        + File.pathSeparator
                                        + System.getProperty("app.test.classes"),
                                FiftyMegapixels.class.getName())
                        .redirectErrorStream(true)
                        .start();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(said, 0, process.waitFor());
        assertTrue(said, said.contains("5774 rows"));
    }

    @Test
    public void whatTheSourceFailsWithIsPassedOn() {
        Tiling.Source broken =
                new Tiling.Source() {
                    @Override
                    public int width() {
                        return 10;
                    }

                    @Override
                    public int height() {
                        return 10;
                    }

                    @Override
                    public void read(int first, int count, int[] pixels) throws IOException {
                        throw new PhotoException(PhotoException.Kind.CORRUPT, "row 3");
                    }
                };
        Raw result = new Raw(10, 10, new byte[300]);
        PhotoException e =
                assertThrows(
                        PhotoException.class,
                        () ->
                                Tiling.restore(
                                        broken, new StandIn(64), result, (done, total) -> true));
        assertEquals(PhotoException.Kind.CORRUPT, e.kind);
        assertEquals(0, result.rows);
    }
}
