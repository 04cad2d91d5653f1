package org.kerasskd.demo;

import android.media.ExifInterface;
import java.io.BufferedOutputStream;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;

/** Where and how a restored photograph is written: as it came, as far as a phone can. */
final class PhotoFile {
    private static final int QUALITY = 95;
    /** The longest side of a JPEG. */
    private static final int LONGEST = 65535;
    /** Bytes a pixel of a JPEG of this quality, at most: what black and white noise takes. */
    static final double MOST_JPEG_BYTES = 3.5;

    /** The tags of HEIC files that are kept; those of other files are kept as one block. */
    private static final String[] TAGS = {
        ExifInterface.TAG_DATETIME,
        ExifInterface.TAG_DATETIME_ORIGINAL,
        ExifInterface.TAG_DATETIME_DIGITIZED,
        ExifInterface.TAG_MAKE,
        ExifInterface.TAG_MODEL,
        ExifInterface.TAG_SOFTWARE,
        ExifInterface.TAG_ARTIST,
        ExifInterface.TAG_COPYRIGHT,
        ExifInterface.TAG_IMAGE_DESCRIPTION,
        ExifInterface.TAG_EXPOSURE_TIME,
        ExifInterface.TAG_F_NUMBER,
        ExifInterface.TAG_ISO_SPEED_RATINGS,
        ExifInterface.TAG_FOCAL_LENGTH,
        ExifInterface.TAG_FOCAL_LENGTH_IN_35MM_FILM,
        ExifInterface.TAG_FLASH,
        ExifInterface.TAG_WHITE_BALANCE,
        ExifInterface.TAG_GPS_LATITUDE,
        ExifInterface.TAG_GPS_LATITUDE_REF,
        ExifInterface.TAG_GPS_LONGITUDE,
        ExifInterface.TAG_GPS_LONGITUDE_REF,
        ExifInterface.TAG_GPS_ALTITUDE,
        ExifInterface.TAG_GPS_ALTITUDE_REF,
        ExifInterface.TAG_GPS_TIMESTAMP,
        ExifInterface.TAG_GPS_DATESTAMP,
        ExifInterface.TAG_ORIENTATION
    };

    final File file;
    final String mimeType;
    final String name;

    private final Photo photo;
    private final File source;
    private final File part;
    private final boolean png;

    /**
     * @param folder where the photograph lies as {@code source} and the result is written
     * @param name of the photograph
     * @param suffix what was done to it, for the result's name
     */
    PhotoFile(Photo photo, File folder, String name, String suffix) throws PhotoException {
        this.photo = photo;
        png =
                photo.hasAlpha
                        || photo.header.format == PhotoHeader.Format.PNG
                        || Math.max(photo.width(), photo.height()) > LONGEST;
        mimeType = png ? "image/png" : "image/jpeg";
        String extension = png ? ".png" : ".jpg";
        int dot = name.lastIndexOf('.');
        this.name = (dot > 0 ? name.substring(0, dot) : name) + "_" + suffix + extension;
        source = new File(folder, "source");
        file = new File(folder, "result" + extension);
        part = new File(folder, "result.part");
        // The most that a photograph can take: PNGs stay below what they hold.
        double bytes = (png ? 4.0 : MOST_JPEG_BYTES) * photo.width() * photo.height();
        if (folder.getUsableSpace() < bytes) {
            throw new PhotoException(PhotoException.Kind.NO_SPACE, Math.round(bytes) + " bytes");
        }
    }

    /** Writes the result from the top down, under another name until {@link #complete}. */
    PhotoWriter writer() throws IOException {
        OutputStream out = new BufferedOutputStream(new FileOutputStream(part), 1 << 16);
        PhotoHeader header = photo.header;
        int width = photo.width();
        int height = photo.height();
        return png
                ? new PngWriter(
                        out,
                        width,
                        height,
                        header.grey,
                        photo.hasAlpha,
                        header.exif,
                        photo.profile)
                : new JpegWriter(
                        out, width, height, header.grey, QUALITY, header.exif, photo.profile);
    }

    /** Gives the written file its tags and its name. */
    void complete() throws IOException {
        if (!png && photo.header.format == PhotoHeader.Format.HEIF) {
            ExifInterface from = new ExifInterface(source.getPath());
            ExifInterface to = new ExifInterface(part.getPath());
            for (String tag : TAGS) {
                String value = from.getAttribute(tag);
                if (value != null) {
                    to.setAttribute(tag, value);
                }
            }
            to.saveAttributes();
        }
        if (!part.renameTo(file)) {
            throw new IOException(file + ": cannot be written");
        }
    }
}
