"""What a file is, by its first bytes, if it is not an image that can be read."""

import re

# What files begin with that are not damaged images but something else.
_OTHERS = (
    (b"GIF8", "a GIF"),
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"II\xbc", "a JPEG XR"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance HDR picture"),
    (b"#?RGBE", "a Radiance HDR picture"),
    (b"\0\0\x01\0", "an icon"),
    (b"icns", "an icon"),
    (b"DDS ", "a DDS texture"),
    (b"qoif", "a QOI picture"),
    (b"farbfeld", "a farbfeld picture"),
    (b"BPG\xfb", "a BPG picture"),
    (b"gimp xcf", "a GIMP document"),
    (b"\x8aMNG", "an MNG animation"),
    (b"\x8bJNG", "a JNG picture"),
    (b"SIMPLE  =", "a FITS picture"),
    (b"FUJIFILMCCD-RAW", "a raw photograph of Fujifilm"),
    (b"IIU\0", "a raw photograph of Panasonic"),
    (b"IIRO", "a raw photograph of Olympus"),
    (b"IIRS", "a raw photograph of Olympus"),
    (b"MMOR", "a raw photograph of Olympus"),
    (b"\0MRM", "a raw photograph of Minolta"),
    (b"FOVb", "a raw photograph of Sigma"),
    (b"II\x1a\0\0\0HEAPCCDR", "a raw photograph of Canon"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"MATLAB 5.0", "a MATLAB file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x1aE\xdf\xa3", "a Matroska video"),
    (b"version https://git-lfs", "a pointer of Git LFS (git lfs pull fetches the picture)"),
)
# ISO base media files: the brand says what for.
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1"), "a HEIC"),
    **dict.fromkeys((b"msf1",), "a HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "an AVIF"),
    b"crx ": "a raw photograph of Canon",
    b"jxl ": "a JPEG XL",
}


def other_kind(head: bytes) -> str | None:
    """What a file is.

    Args:
        head: Its first bytes, some hundreds.

    Returns:
        Its kind with an article, such as ``"a HEIC"``; None where that is not known.
    """
    for start, name in _OTHERS:
        if head.startswith(start):
            return name
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[i : i + 4] for i in range(16, min(64, len(head)), 4))}
        for brand, name in _BRANDS.items():
            if brand == head[8:12]:
                return name
        return next((name for brand, name in _BRANDS.items() if brand in brands), "a video")
    if head[:4] == b"RIFF":
        return "a RIFF file (a video or sound)"
    if re.match(rb"P[1-7][\s#]", head):
        return "a portable anymap (PBM, PGM, PPM or PAM)"
    if re.match(rb"P[Ff]\s", head):
        return "a portable floatmap (PFM)"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page, not the picture it stands for"
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return "an SVG drawing"
    return None
