"""What the app's tests on the JVM compare with, all of it made by Python: ``build/fixtures``."""

import io
import json
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from android_demo.bundle import ROOT, Student, bundled_students
from keras_skd.export.phone_check import degraded, write_check

TILE = 128  # of the students that are made for the tests, in pixels
SIZES = (
    (1, 1, 64),
    (5, 3, 64),
    (64, 64, 64),
    (65, 61, 64),
    (256, 256, 256),
    (300, 257, 256),
    (1003, 700, 256),
    (2000, 17, 128),
    (17, 2000, 128),
    (333, 129, 16),
)


def students(folder):
    """A student as fp16 and as int8: of the results, or one trained for a minute and kept.

    Args:
        folder: Where it is kept.

    Returns:
        Paths of the two ``.tflite`` files.
    """
    for student in bundled_students():
        int8 = student.path.with_name(student.path.name.replace("_fp16", "_int8"))
        if int8.exists():
            return [student.path, int8]
    files = [folder / "files" / f"student_{scheme}.tflite" for scheme in ("fp16", "int8")]
    if not all(path.exists() for path in files):
        run = folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        options = "--method none --steps 60 --steps-per-epoch 60 --batch-size 2 --warmup-steps 5"
        _python("-m", "keras_skd.train", "--run", run, *options.split())
        options = f"--schemes fp16,int8 --tile {TILE} --output"
        _python("exports/convert.py", run / "student.keras", *options.split(), folder / "files")
    return files


def _python(*arguments):
    subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, check=True)


def test_students(folder):
    """The students of the tests' APK: those that the app bundles, or the one made here."""
    fp16, _ = students(folder)
    return bundled_students() or [Student("denoise", fp16)]


class _StandIn:
    """A model whose output depends on the place in the tile; exact in float32 but for rounding."""

    channels = 3

    def __init__(self, tile):
        self.size, self.metadata = (tile, tile), {}
        y, x, channel = np.ogrid[:tile, :tile, :3]
        self.factor = (1 + (7 * y + 3 * x + 0 * channel) % 16 / 64).astype(np.float32)
        self.offset = ((5 * y + 11 * x + channel) % 8 / 64 - 1 / 16).astype(np.float32)

    def __call__(self, image):
        return image * self.factor + self.offset


def write_tiling(folder):
    """Images and what ``restore_tiled`` makes of them: raw bytes, and ``tiling.json``."""
    from keras_skd.tiling import restore_tiled, spans

    cases = []
    for width, height, tile in SIZES:
        image = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
        name = f"tiling_{width}x{height}_{tile}"
        image.tofile(folder / f"{name}.in")
        restore_tiled(_StandIn(tile), image).tofile(folder / f"{name}.out")
        columns = [[s.start, s.first, s.last, s.fade_in, s.fade_out] for s in spans(width, tile)]
        cases.append(
            {"name": name, "width": width, "height": height, "tile": tile, "columns": columns}
        )
    (folder / "tiling.json").write_text(json.dumps(cases))


def _noisy(height, width, seed=0):
    from keras_skd.data.photos import validation_photos

    photo = next(iter(validation_photos().values()))[:height, :width]
    noise = np.random.default_rng(seed).normal(0, 25, photo.shape)
    return np.rint(np.clip(photo + noise, 0, 255)).astype(np.uint8)


def _scene(task):
    """What the screens show: a photograph as a phone stores it, lying on its side."""
    from skimage import data

    # Of usual rain: 17.8 dB.
    photo = _degraded(data.astronaut()[:, 64:448, :3], task, seed=4)
    return Image.fromarray(photo).transpose(Image.Transpose.ROTATE_90)


def _degraded(photo, task, seed=0):
    from keras_skd.data import to_uint8

    return to_uint8(degraded(photo, task, seed))


def _exif(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Keras"
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:05:06 07:08:09"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return exif.tobytes()


def write_photos(folder, task):
    """Photographs of every kind that a phone may meet.

    Args:
        folder: Where to.
        task: What the first student takes out, for those that are restored.
    """
    from keras_skd.data.photos import validation_photos

    photo = next(iter(validation_photos().values()))[:257, :300]
    image = Image.fromarray(_degraded(photo, task))
    image.save(folder / "photo.png")
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(folder / "photo.jpg", quality=95, subsampling=0, exif=_exif(6), icc_profile=icc)
    image.save(folder / "photo.webp", lossless=True, exif=_exif(3)[6:])
    image.save(folder / "photo.gif")
    _scene(task).save(folder / "scene.jpg", quality=95, subsampling=0, exif=_exif(6))
    for orientation in range(1, 9):
        path = folder / f"orientation_{orientation}.jpg"
        small = Image.fromarray(_noisy(40, 60))
        small.save(path, quality=95, subsampling=0, exif=_exif(orientation))
        with Image.open(path) as stored:
            ImageOps.exif_transpose(stored).save(folder / f"upright_{orientation}.png")
    grey = Image.fromarray(_noisy(70, 90)).convert("L")
    grey.save(folder / "grey.png")
    grey.save(folder / "grey.jpg", quality=95)
    alpha = np.random.default_rng(1).integers(0, 256, (70, 90), np.uint8)
    alpha[:20] = 0
    Image.fromarray(np.dstack([_noisy(70, 90), alpha])).save(folder / "alpha.png")

    content = (folder / "photo.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
    (folder / "cut.png").write_bytes((folder / "photo.png").read_bytes()[:20000])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_bytes(b"This is no image, whatever its name says.\n" * 9)
    box = b"ftypheic\0\0\0\0mif1heic"
    (folder / "photo.heic").write_bytes(struct.pack(">I", 4 + len(box)) + box + bytes(400))
    (folder / "bomb.png").write_bytes(_empty_png(20000, 20000))
    (folder / "wide.png").write_bytes(_empty_png(3000, 1))


def _empty_png(width, height):
    """A black 1-bit PNG of any size, in a few kilobytes."""
    buffer = io.BytesIO(b"")
    buffer.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    compressor = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    for name, content in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")):
        crc = zlib.crc32(name + content)
        buffer.write(struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc))
    return buffer.getvalue()


def write_restored(folder, student, name):
    """A student beside the photographs, as ``keras_skd.phone`` pushes it, and what it makes.

    Writes ``NAME/models.json`` with the student and its check, ``NAME_PHOTO.png``, and one as JPEG.
    """
    from keras_skd.restore import restore_file
    from keras_skd.runners import TFLiteRunner
    from keras_skd.tiling import tile_runner

    (folder / name).mkdir(exist_ok=True)
    entry = write_check(student.path, student.task, folder / name)
    (folder / name / "models.json").write_text(json.dumps(entry))
    run = tile_runner(TFLiteRunner(student.path))
    for photo in ("photo", "grey", "alpha"):
        output = folder / f"{name}_{photo}.png"
        restore_file(run, folder / f"{photo}.png", output, overwrite=True)
    with Image.open(folder / f"{name}_photo.png") as image:
        image.save(folder / f"{name}_photo.jpg", quality=95, subsampling=0)


def write_all(build):
    """Writes ``build/fixtures``.

    Args:
        build: The app's build folder.

    Returns:
        The students of the tests' APK.
    """
    from keras_skd.quiet import import_tensorflow

    import_tensorflow()
    folder = Path(build) / "fixtures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _, int8 = students(Path(build) / "student")
    write_tiling(folder)
    bundled = test_students(Path(build) / "student")
    write_photos(folder, bundled[0].task)
    write_restored(folder, bundled[0], "fp16")
    write_restored(folder, Student(bundled[0].task, int8), "int8")
    return bundled
