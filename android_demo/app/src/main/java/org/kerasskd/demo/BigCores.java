package org.kerasskd.demo;

import java.io.BufferedReader;
import java.io.File;
import java.io.FileReader;
import java.io.IOException;

/** How many cores of a phone are big: more threads than these wait for the small ones. */
final class BigCores {
    private static final File CPUS = new File("/sys/devices/system/cpu");

    private BigCores() {}

    static int count() {
        return count(CPUS, Runtime.getRuntime().availableProcessors());
    }

    /**
     * Cores that are faster than the slowest kind.
     *
     * @param folder of the kernel, with {@code cpuN/cpufreq/cpuinfo_max_freq}
     * @param all returned where all cores are alike or the kernel does not tell
     */
    static int count(File folder, int all) {
        long[] frequencies = new long[all];
        long slowest = Long.MAX_VALUE;
        for (int core = 0; core < all; core++) {
            File file = new File(folder, "cpu" + core + "/cpufreq/cpuinfo_max_freq");
            try (BufferedReader reader = new BufferedReader(new FileReader(file))) {
                frequencies[core] = Long.parseLong(reader.readLine().trim());
            } catch (IOException | RuntimeException e) {
                return all;
            }
            slowest = Math.min(slowest, frequencies[core]);
        }
        int big = 0;
        for (long frequency : frequencies) {
            if (frequency > slowest) {
                big++;
            }
        }
        return big == 0 ? all : big;
    }
}
