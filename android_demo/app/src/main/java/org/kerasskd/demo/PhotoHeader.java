package org.kerasskd.demo;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.zip.InflaterInputStream;

/**
 * What a photograph's file says beside its pixels. The framework's ExifInterface gives tags one by
 * one; here the blocks are taken as they are, so that maker's notes are not lost either.
 */
final class PhotoHeader {
    enum Format {
        JPEG,
        PNG,
        WEBP,
        HEIF,
        OTHER
    }

    /** An intact file cannot hold more in one block. */
    private static final int LONGEST = 64 << 20;

    Format format = Format.OTHER;
    /** Whether the file ends where it should; true where that is not known. */
    boolean complete = true;
    /** Whether it has one colour channel. */
    boolean grey;
    /** EXIF as a TIFF structure, or null. */
    byte[] exif;
    /** Colour profile, or null. */
    byte[] profile;

    private PhotoHeader() {}

    /** Reads a file's header. Damage shows as {@link #complete} being false. */
    static PhotoHeader read(File file) throws IOException {
        PhotoHeader header = new PhotoHeader();
        try (DataInputStream in =
                new DataInputStream(new BufferedInputStream(new FileInputStream(file), 1 << 16))) {
            byte[] start = new byte[12];
            in.readFully(start);
            if ((start[0] & 255) == 0xFF && (start[1] & 255) == 0xD8) {
                header.format = Format.JPEG;
            } else if (ByteBuffer.wrap(start).getLong() == 0x89504E470D0A1A0AL) {
                header.format = Format.PNG;
            } else if (text(start, 0).equals("RIFF") && text(start, 8).equals("WEBP")) {
                header.format = Format.WEBP;
            } else if (text(start, 4).equals("ftyp")
                    && Arrays.asList("heic", "heix", "hevc", "mif1", "msf1", "avif")
                            .contains(text(start, 8))) {
                header.format = Format.HEIF;
            }
        } catch (EOFException e) {
            header.complete = false;
            return header;
        }
        try (DataInputStream in =
                new DataInputStream(new BufferedInputStream(new FileInputStream(file), 1 << 16))) {
            if (header.format == Format.JPEG) {
                header.readJpeg(in);
            } else if (header.format == Format.PNG) {
                header.readPng(in);
            } else if (header.format == Format.WEBP) {
                header.readWebp(in, file.length());
            }
        } catch (EOFException e) {
            header.complete = false;
        }
        return header;
    }

    /** How the photograph is to be shown, 1 to 8 as in EXIF. */
    int orientation() {
        return exif == null ? 1 : orientation(exif);
    }

    private void readJpeg(DataInputStream in) throws IOException {
        in.readUnsignedShort();
        ByteArrayOutputStream profileParts = new ByteArrayOutputStream();
        int components = 3;
        while (true) {
            int marker = in.readUnsignedByte();
            if (marker != 0xFF) {
                continue; // fill bytes and damage between segments
            }
            while (marker == 0xFF) {
                marker = in.readUnsignedByte();
            }
            if (marker == 0xDA) {
                break; // the scan
            }
            if (marker == 0 || marker == 1 || marker >= 0xD0 && marker <= 0xD9) {
                continue; // without content
            }
            byte[] content = new byte[Math.max(0, in.readUnsignedShort() - 2)];
            in.readFully(content);
            if (marker == 0xE1 && exif == null && starts(content, "Exif\0\0")) {
                exif = Arrays.copyOfRange(content, 6, content.length);
            } else if (marker == 0xE2 && starts(content, "ICC_PROFILE\0") && content.length > 14) {
                profileParts.write(content, 14, content.length - 14);
            } else if (marker >= 0xC0
                    && marker <= 0xCF
                    && marker != 0xC4
                    && marker != 0xC8
                    && marker != 0xCC
                    && content.length > 5) {
                components = content[5];
            }
        }
        grey = components == 1;
        // A profile for print is of no use to what the decoder makes of such a file.
        profile = profileParts.size() > 0 && components < 4 ? profileParts.toByteArray() : null;
        // The end of the image comes after it; a truncated file has none.
        for (int before = 0, now; ; before = now) {
            now = in.readUnsignedByte();
            if (before == 0xFF && now == 0xD9) {
                return;
            }
        }
    }

    private void readPng(DataInputStream in) throws IOException {
        in.readLong();
        while (true) {
            int length = in.readInt();
            byte[] name = new byte[4];
            in.readFully(name);
            String chunk = text(name, 0);
            if (chunk.equals("IDAT") || length < 0 || length > LONGEST) {
                skip(in, length & 0xFFFFFFFFL);
            } else {
                byte[] content = new byte[length];
                in.readFully(content);
                if (chunk.equals("IHDR") && length == 13) {
                    grey = content[9] == 0 || content[9] == 4;
                } else if (chunk.equals("eXIf")) {
                    exif = content;
                } else if (chunk.equals("iCCP")) {
                    profile = inflatedProfile(content);
                }
            }
            in.readInt(); // the checksum, which the decoder compares
            if (chunk.equals("IEND")) {
                return;
            }
        }
    }

    private static byte[] inflatedProfile(byte[] content) {
        int name = 0;
        while (name < content.length && content[name] != 0) {
            name++;
        }
        ByteArrayOutputStream result = new ByteArrayOutputStream();
        try (InflaterInputStream in =
                new InflaterInputStream(
                        new java.io.ByteArrayInputStream(
                                content, name + 2, Math.max(0, content.length - name - 2)))) {
            byte[] buffer = new byte[4096];
            for (int n; (n = in.read(buffer)) > 0 && result.size() < LONGEST; ) {
                result.write(buffer, 0, n);
            }
            return result.toByteArray();
        } catch (IOException e) {
            return null; // a damaged profile: the decoder ignores it too
        }
    }

    private void readWebp(DataInputStream in, long fileLength) throws IOException {
        in.readInt();
        long end = 8 + (Integer.reverseBytes(in.readInt()) & 0xFFFFFFFFL);
        in.readInt();
        complete = end <= fileLength;
        for (long at = 12; at + 8 <= Math.min(end, fileLength); ) {
            byte[] name = new byte[4];
            in.readFully(name);
            long length = Integer.reverseBytes(in.readInt()) & 0xFFFFFFFFL;
            long padded = length + (length & 1);
            String chunk = text(name, 0);
            if ((chunk.equals("EXIF") || chunk.equals("ICCP")) && length <= LONGEST) {
                byte[] content = new byte[(int) length];
                in.readFully(content);
                skip(in, padded - length);
                if (chunk.equals("ICCP")) {
                    profile = content;
                } else {
                    boolean prefixed = starts(content, "Exif\0\0");
                    exif = Arrays.copyOfRange(content, prefixed ? 6 : 0, content.length);
                }
            } else {
                skip(in, padded);
            }
            at += 8 + padded;
        }
    }

    /** The orientation in an EXIF block; 1 where there is none. */
    static int orientation(byte[] exif) {
        try {
            ByteBuffer block = ByteBuffer.wrap(exif);
            block.order(exif[0] == 'I' ? ByteOrder.LITTLE_ENDIAN : ByteOrder.BIG_ENDIAN);
            int directory = block.getInt(4);
            int entries = block.getShort(directory) & 0xFFFF;
            for (int i = 0; i < entries; i++) {
                int entry = directory + 2 + 12 * i;
                if ((block.getShort(entry) & 0xFFFF) == 0x0112) {
                    int value = block.getShort(entry + 8);
                    return value >= 1 && value <= 8 ? value : 1;
                }
            }
        } catch (IndexOutOfBoundsException e) {
            return 1; // damaged
        }
        return 1;
    }

    private static void skip(DataInputStream in, long count) throws IOException {
        while (count > 0) {
            int skipped = in.skipBytes((int) Math.min(count, 1 << 30));
            if (skipped == 0) {
                in.readUnsignedByte(); // throws at the end of the file
                skipped = 1;
            }
            count -= skipped;
        }
    }

    private static boolean starts(byte[] content, String prefix) {
        byte[] bytes = prefix.getBytes(StandardCharsets.ISO_8859_1);
        return content.length >= bytes.length
                && Arrays.equals(Arrays.copyOf(content, bytes.length), bytes);
    }

    private static String text(byte[] content, int at) {
        return new String(content, at, 4, StandardCharsets.ISO_8859_1);
    }
}
