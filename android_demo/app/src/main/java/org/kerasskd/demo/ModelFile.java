package org.kerasskd.demo;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** What the app has to know of a .tflite file and the interpreter does not tell. */
final class ModelFile {
    // Positions in the tables' indices, from the schema of TensorFlow Lite.
    private static final int SUBGRAPHS = 8;
    private static final int OPERATORS = 10;

    private ModelFile() {}

    /** Number of operations of the first graph; -1 if the file is none of TensorFlow Lite. */
    static int operations(ByteBuffer model) {
        ByteBuffer file = model.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        try {
            if (file.getInt(4) != 0x334C4654) { // "TFL3"
                return -1;
            }
            int subgraphs = vector(file, file.getInt(0), SUBGRAPHS);
            int subgraph = subgraphs + 4 + file.getInt(subgraphs + 4);
            return file.getInt(vector(file, subgraph, OPERATORS));
        } catch (IndexOutOfBoundsException e) {
            return -1; // damaged
        }
    }

    /** Where the vector of a table's field lies; its length comes first. */
    private static int vector(ByteBuffer file, int table, int field) {
        int index = table - file.getInt(table);
        int inTable = field < file.getShort(index) ? file.getShort(index + field) : 0;
        if (inTable == 0) {
            throw new IndexOutOfBoundsException("no such field");
        }
        return table + inTable + file.getInt(table + inTable);
    }
}
