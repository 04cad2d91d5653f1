"""``python -m keras_skd.restore``: restores photographs of any size, file by file."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from keras_skd.errors import FailedCheckError, InputError, MissingFileError, OutputError
from keras_skd.tiling import TILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import keras

    from keras_skd.data import MatImage
    from keras_skd.hints import PathLike
    from keras_skd.runners import Runner


def find_images(sources: Iterable[PathLike]) -> list[Path | MatImage]:
    """Files, folders and glob patterns to image files.

    Args:
        sources: Paths: a file, a folder (the images directly in it, or the noisy ones of SIDD's or
            DND's ``.mat`` files) or a pattern such as ``"holiday/*.jpg"``, which ``**`` lets
            descend. A folder that exists is taken by its name, also one such as ``trip[1]``.

    Returns:
        A list of paths, or of :class:`~keras_skd.data.MatImage`, each once, in the order given.

    Raises:
        MissingFileError: A file or folder does not exist, or a pattern matches nothing.
        InputError: A folder holds no images.
    """
    from keras_skd.data.images import is_image, list_images
    from keras_skd.data.mat_files import dnd_crops, sidd_blocks

    paths = []
    for source in map(str, sources):
        # os.path rather than Path, which raises where the name is longer than any file's.
        if os.path.isdir(source):
            in_mat = sidd_blocks(Path(source)) or dnd_crops(Path(source))
            paths += [group[0] for group in in_mat[2]] if in_mat else list_images(source)
        elif os.path.exists(source):
            paths.append(Path(source))
        elif glob.has_magic(source):
            found = [path for path in _matches(source) if path.is_file() and is_image(path)]
            if not found:
                raise MissingFileError(f"{source}: matches no image.")
            paths += found
        else:
            raise MissingFileError(f"{source}: no such image or folder.")
    once = {os.path.realpath(p) if isinstance(p, Path) else p: p for p in reversed(paths)}
    return list(reversed(once.values()))


# Pictures that people keep beside those that are read.
_OTHER_PICTURES = {
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".gif", ".jfif", ".mpo", ".psd", ".svg"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),
    *(".ppm", ".pgm", ".exr", ".hdr"),
}


def other_pictures(sources: Iterable[PathLike]) -> list[Path]:
    """Pictures directly in the folders of ``sources`` whose suffix is none that is read."""
    folders = [Path(source) for source in dict.fromkeys(sources) if os.path.isdir(source)]
    return [
        path
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _OTHER_PICTURES and not path.name.startswith(".")
    ]


def _matches(pattern):
    """What a pattern matches, sorted; leading folders that exist are no part of the pattern."""
    parts = Path(pattern).parts
    folder = Path()
    depth = 0
    while depth < len(parts) - 1 and (folder / parts[depth]).is_dir():
        folder /= parts[depth]
        depth += 1
    rest = os.path.join(*parts[depth:])
    return sorted(folder / path for path in glob.glob(rest, root_dir=folder, recursive=True))


def output_paths(
    paths: Iterable[Path | MatImage], folder: PathLike, output_format: str | None = None
) -> list[Path]:
    """Where each image is written.

    Args:
        paths: The images.
        folder: Folder of the results.
        output_format: A key of :data:`keras_skd.data.photo_files.FORMATS`; None keeps each
            image's own.

    Returns:
        A list of paths in ``folder``, of the images' names.

    Raises:
        ValueError: Two images would be written to one file.
    """
    from keras_skd.data.photo_files import FORMATS

    origins = {}
    for path in paths:
        suffix = FORMATS.get(output_format)
        if not isinstance(path, Path):  # in a .mat file
            name = path.name + (suffix or ".png")
        else:
            name = path.stem + suffix if suffix else path.name
        output = Path(folder) / name
        if output in origins:
            raise InputError(
                f"{origins[output]} and {path} would both be written to {output}; restore them "
                "into different folders."
            )
        origins[output] = path
    return list(origins)


def check_file(
    path: str | Path | MatImage,
    output: PathLike,
    *,
    channels: int = 3,
    overwrite: bool = False,
    max_pixels: int | None = None,
) -> tuple[int, int]:
    """Finds what the head of a photograph shows to be impossible, before anything is restored.

    Args:
        path: As for :func:`restore_file`.
        output: The file to write.
        channels: Of the model's images, 3 or 1.
        overwrite: Whether a file that is there already is replaced.
        max_pixels: As for :func:`~keras_skd.data.photo_files.read_photo`.

    Returns:
        ``(height, width)`` in pixels as they lie in the file.

    Raises:
        OutputError: The output exists and ``overwrite`` is False, or its name is too long.
        MissingFileError: There is no such photograph.
        InputError: It cannot be read, not be written in that format, or has colours where the
            model takes grey.
    """
    from keras_skd.data.decoding import opened
    from keras_skd.data.photo_files import check_output

    if not isinstance(path, str | Path):  # in a .mat file
        height, width = path.size or path.read().shape[:2]
        transparent = grey = False
    else:
        with opened(path, max_pixels) as picture:
            height, width = picture.height, picture.width
            transparent, grey = picture.transparent, picture.grey
    if channels == 1 and not grey:
        raise InputError(f"{path}: has colours, and the model restores grey images.")
    check_output(output, height, width, transparent)
    if Path(output).exists() and not overwrite:
        raise OutputError(f"{output}: exists already; --overwrite replaces it.")
    return height, width


def restore_file(
    model: Runner | keras.Model,
    path: str | Path | MatImage,
    output: PathLike,
    *,
    tile: int = TILE,
    quality: int | None = None,
    overwrite: bool = False,
    max_pixels: int | None = None,
    on_tile: Callable[[int, int], object] | None = None,
) -> list[str]:
    """Restores one photograph and writes it with all that belongs to it.

    Args:
        model: As for :func:`~keras_skd.tiling.restore_tiled`.
        path: The photograph, see :func:`~keras_skd.data.photo_files.read_photo`, or a
            :class:`~keras_skd.data.MatImage`.
        output: The file to write; its suffix chooses the format.
        tile: Side of the tiles for a Keras model, in pixels.
        quality: As for :func:`~keras_skd.data.photo_files.write_photo`.
        overwrite: Whether a file that is there already is replaced.
        max_pixels: As for :func:`~keras_skd.data.photo_files.read_photo`.
        on_tile: As for :func:`~keras_skd.tiling.restore_tiled`.

    Returns:
        A list of sentences on what of the photograph the result lacks; empty if nothing.

    Raises:
        OutputError: The output exists and ``overwrite`` is False, or it cannot be written.
        MissingFileError: There is no such photograph.
        InputError: It cannot be read, or not be written in that format.
        FailedCheckError: The model returned NaN or infinite values; nothing is written.
    """
    from keras_skd.data.photo_files import Photo, read_photo, write_photo
    from keras_skd.tiling import restore_tiled, tile_runner

    model = tile_runner(model, tile)
    settings = {"overwrite": overwrite, "max_pixels": max_pixels}
    check_file(path, output, channels=model.channels, **settings)
    is_file = isinstance(path, str | Path)
    photo = read_photo(path, max_pixels) if is_file else Photo(path.read())
    try:
        pixels = restore_tiled(model, photo.pixels[..., : model.channels], on_tile=on_tile)
    except FailedCheckError as error:
        raise FailedCheckError(f"{path}: {error}") from None
    photo = photo.with_pixels(pixels)  # the first pixels are let go before more are taken
    lacks = write_photo(output, photo, quality)
    return [f"{path}: {note}." for note in photo.notes] + [f"{output}: {note}." for note in lacks]


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    from keras_skd.data.decoding import MAX_PIXELS, READ
    from keras_skd.data.photo_files import FORMATS, QUALITY

    result = argparse.ArgumentParser(
        prog="python -m keras_skd.restore",
        description=f"Restores photographs of any size: {READ}. Transparency, EXIF (with the "
        "orientation), XMP, colour profile and 16 bits are kept; what a result lacks is said. A "
        "photograph that cannot be restored is reported, the others are restored, and the exit "
        "code is 1.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    result.add_argument("model", metavar="MODEL", help="preset, .keras or .tflite file")
    result.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="files, folders or quoted patterns such as '*.jpg'",
    )
    result.add_argument("--output", metavar="DIR", required=True, help="folder of the results")
    result.add_argument(
        "--tile",
        type=int,
        default=TILE,
        metavar="PIXELS",
        help="side of the tiles; a .tflite of fixed size has its own",
    )
    result.add_argument(
        "--format",
        choices=FORMATS,
        default=argparse.SUPPRESS,
        help="of the results (default: each image's own)",
    )
    result.add_argument(
        "--quality",
        type=int,
        default=argparse.SUPPRESS,
        help=f"of JPEG and WebP, 1..100 (default: {QUALITY}, and a WebP without loss stays so)",
    )
    result.add_argument(
        "--max-megapixels",
        type=float,
        default=MAX_PIXELS / 10**6,
        metavar="MILLIONS",
        help="larger images are refused; memory takes about 7 bytes a pixel, 13 of 16 bits",
    )
    result.add_argument(
        "--overwrite", action="store_true", help="replace results that exist already"
    )
    result.add_argument(
        "--untrained", action="store_true", help="take a preset without weights, with random ones"
    )
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    from keras_skd.command import FAILED_CHECK, INTERRUPTED, reported_errors
    from keras_skd.files import output_folder
    from keras_skd.quiet import import_tensorflow

    options = parser().parse_args(arguments)
    import_tensorflow()
    from tqdm import tqdm

    from keras_skd.runners import load_runner
    from keras_skd.tiling import tile_runner

    failures = 0
    quality = getattr(options, "quality", None)
    settings = {"overwrite": options.overwrite, "max_pixels": int(options.max_megapixels * 10**6)}
    with reported_errors("keras_skd.restore"):
        if quality is not None and not 1 <= quality <= 100:
            raise InputError(f"--quality must be 1..100; got {quality}.")
        if not 0 < options.max_megapixels < 10**6:
            raise InputError(f"--max-megapixels must be positive; got {options.max_megapixels}.")
        paths = find_images(options.images)
        left_out = other_pictures(options.images)
        if left_out:
            suffixes = ", ".join(sorted({path.suffix.lower() for path in left_out}))
            print(
                f"keras_skd.restore: {len(left_out)} files of other kinds are left out "
                f"({suffixes}); name them to see why.",
                file=sys.stderr,
            )
        model = tile_runner(load_runner(options.model, options.untrained), options.tile)
        outputs = output_paths(paths, options.output, getattr(options, "format", None))
        # Every image's head before the first tile: an hour of work is not where to find out.
        waiting = []
        for path, output in zip(paths, outputs, strict=True):
            try:
                size = check_file(path, output, channels=model.channels, **settings)
            except Exception as error:
                failures += 1
                print(_failure(path, error), file=sys.stderr)
            else:
                waiting.append((path, output, _tiles(size, model.size)))
        with (
            output_folder(options.output) if waiting else nullcontext(),
            # In tiles, not images, so that the time left is right whatever their sizes are.
            tqdm(
                total=sum(tiles for *_, tiles in waiting),
                unit="tile",
                disable=None,
                dynamic_ncols=True,
            ) as bar,
        ):
            for path, output, tiles in waiting:
                bar.set_description(path.name[:24])
                before = bar.n
                try:
                    notes = restore_file(
                        model,
                        path,
                        output,
                        quality=quality,
                        on_tile=lambda done, total: bar.update(),
                        **settings,
                    )
                    for note in notes:
                        tqdm.write(f"keras_skd.restore: {note}", file=sys.stderr)
                except Exception as error:  # whatever it is, the other images have no part in it
                    failures += 1
                    tqdm.write(_failure(path, error), file=sys.stderr)
                except KeyboardInterrupt:
                    tqdm.write("interrupted; what was finished is complete.", file=sys.stderr)
                    return INTERRUPTED
                bar.update(before + tiles - bar.n)
    done = len(paths) - failures
    print(
        f"{options.output}: {done} of {len(paths)} restored"
        + (f", {failures} failed (see above)" if failures else "")
    )
    return FAILED_CHECK if failures else 0


def _failure(path, error):
    """One line on an image that failed; an exception that nobody expected shows its type."""
    message = " ".join(str(error).split())
    if not isinstance(error, InputError | FailedCheckError):
        message = f"{path}: unexpected {type(error).__name__}: {message[:400]}"
    return f"keras_skd.restore: {message}"


def _tiles(size, tile_size):
    """How many tiles an image takes."""
    from keras_skd.tiling import spans

    rows, columns = (spans(n, side) for n, side in zip(size, tile_size, strict=True))
    return len(rows) * len(columns)


if __name__ == "__main__":
    sys.exit(main())
