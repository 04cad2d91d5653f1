"""``python -m keras_skd.restore``: restores photographs of any size, file by file."""

import argparse
import glob
import sys
from pathlib import Path

from keras_skd.errors import InputError, MissingFileError, OutputError
from keras_skd.tiling import TILE


def find_images(sources):
    """Files, folders and glob patterns to image files.

    Args:
        sources: Paths: a file, a folder (the images directly in it, or the noisy ones of SIDD's or
            DND's ``.mat`` files) or a pattern such as ``"holiday/*.jpg"``, which ``**`` lets
            descend.

    Returns:
        A list of paths, or of :class:`~keras_skd.data.MatImage`, each once, in the order given.

    Raises:
        FileNotFoundError: A file or folder does not exist, or a pattern matches nothing.
        ValueError: A folder holds no images.
    """
    from keras_skd.data.images import is_image, list_images
    from keras_skd.data.mat_files import dnd_crops, sidd_blocks

    paths = []
    for source in map(str, sources):
        if Path(source).is_dir():
            in_mat = sidd_blocks(Path(source)) or dnd_crops(Path(source))
            paths += [group[0] for group in in_mat[2]] if in_mat else list_images(source)
        elif Path(source).exists():
            paths.append(Path(source))
        elif glob.has_magic(source):
            found = sorted(map(Path, glob.glob(source, recursive=True)))
            found = [path for path in found if path.is_file() and is_image(path)]
            if not found:
                raise MissingFileError(f"{source}: matches no image.")
            paths += found
        else:
            raise MissingFileError(f"{source}: no such image or folder.")
    return list(dict.fromkeys(paths))


def output_paths(paths, folder, output_format=None):
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


def restore_file(model, path, output, *, tile=TILE, quality=95, overwrite=False, on_tile=None):
    """Restores one photograph and writes it with all that belongs to it.

    Args:
        model: As for :func:`~keras_skd.tiling.restore_tiled`.
        path: The photograph, see :func:`~keras_skd.data.photo_files.read_photo`, or a
            :class:`~keras_skd.data.MatImage`.
        output: The file to write; its suffix chooses the format.
        tile: Side of the tiles for a Keras model, in pixels.
        quality: Of JPEG and WebP, 1..100.
        overwrite: Whether a file that is there already is replaced.
        on_tile: As for :func:`~keras_skd.tiling.restore_tiled`.

    Raises:
        FileExistsError: The output exists and ``overwrite`` is False.
        FileNotFoundError: There is no such photograph.
        ValueError: It cannot be read, or not be written in that format.
        OSError: The output cannot be written.
    """
    from keras_skd.data.photo_files import Photo, read_photo, write_photo
    from keras_skd.tiling import restore_tiled

    if Path(output).exists() and not overwrite:
        raise OutputError(f"{output}: exists already; --overwrite replaces it.")
    photo = read_photo(path) if isinstance(path, str | Path) else Photo(path.read())
    restored = photo.with_pixels(restore_tiled(model, photo.pixels, tile, on_tile))
    write_photo(output, restored, quality)


def parser():
    """The command's arguments."""
    from keras_skd.data.photo_files import FORMATS

    result = argparse.ArgumentParser(
        prog="python -m keras_skd.restore",
        description="Restores photographs of any size. Transparency, EXIF (with the orientation), "
        "colour profile and 16 bits are kept. A photograph that cannot be restored is reported, "
        "the others go on, and the exit code is 1.",
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
        "--format", choices=FORMATS, help="of the results; without it each image's own"
    )
    result.add_argument("--quality", type=int, default=95, help="of JPEG and WebP, 1..100")
    result.add_argument(
        "--overwrite", action="store_true", help="replace results that exist already"
    )
    result.add_argument(
        "--untrained", action="store_true", help="take a preset without weights, with random ones"
    )
    return result


def main(arguments=None):
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
    with reported_errors("keras_skd.restore"):
        if not 1 <= options.quality <= 100:
            raise InputError(f"--quality must be 1..100; got {options.quality}.")
        paths = find_images(options.images)
        model = tile_runner(load_runner(options.model, options.untrained), options.tile)
        outputs = output_paths(paths, options.output, options.format)
        tiles = [_tiles_of(path, model.size) for path in paths]
        with (
            output_folder(options.output),
            # In tiles, not images, so that the time left is right whatever their sizes are.
            tqdm(total=sum(tiles), unit="tile", disable=None, dynamic_ncols=True) as bar,
        ):
            for path, output, count in zip(paths, outputs, tiles, strict=True):
                bar.set_description(path.name[:24])
                before = bar.n
                try:
                    restore_file(
                        model,
                        path,
                        output,
                        quality=options.quality,
                        overwrite=options.overwrite,
                        on_tile=lambda done, total: bar.update(),
                    )
                except (ValueError, OSError) as error:
                    failures += 1
                    message = " ".join(str(error).split())
                    tqdm.write(f"keras_skd.restore: {message}", file=sys.stderr)
                except KeyboardInterrupt:
                    tqdm.write("interrupted; what was finished is complete.", file=sys.stderr)
                    return INTERRUPTED
                bar.update(before + count - bar.n)
    done = len(paths) - failures
    print(
        f"{options.output}: {done} of {len(paths)} restored"
        + (f", {failures} failed (see above)" if failures else "")
    )
    return FAILED_CHECK if failures else 0


def _tiles_of(path, tile_size):
    """How many tiles an image takes; 0 where its head cannot be read, which is reported later."""
    from keras_skd.data.images import opened
    from keras_skd.tiling import spans

    if not isinstance(path, Path):
        return 1  # a block or crop of a .mat file
    try:
        with opened(path) as image:
            size = image.size[::-1]
    except (ValueError, OSError):
        return 0
    rows, columns = (spans(n, side) for n, side in zip(size, tile_size, strict=True))
    return len(rows) * len(columns)


if __name__ == "__main__":
    sys.exit(main())
