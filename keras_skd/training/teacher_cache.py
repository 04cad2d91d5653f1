"""A teacher's outputs for a pool of crops: computed once, drawn from by every step of every run.

The teacher's pass costs more than the student's step, and gives the same for the same crop. So a
seeded pool of degraded crops goes through the teacher once, and what a distiller needs of it is
kept on disk: crop, ground truth, the teacher's image and its stages. Epochs, seeds, methods and
students draw from the pool, with flips and rotations of all alike. (The idea, for classifiers, is
that of Shen and Xing, "A Fast Knowledge Distillation Framework for Visual Recognition", ECCV 2022.)

A folder holds one cache::

    cache.json      what it was made of: teacher, images, task, patch size, stages
    progress.json   crops that are complete; a build that was killed resumes there
    clean.bin       uint8, one crop after another, as the others
    degraded.bin    float16
    image.bin       float16, the teacher's image
    stage_NAME.bin  float16, the teacher's features
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_skd.errors import InputError
from keras_skd.files import output_folder, write_json
from keras_skd.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    import keras
    import tensorflow as tf

    from keras_skd.data import ImageStore
    from keras_skd.hints import Degradation, PathLike

BUILD_BATCH = 16  # crops of a pass of the teacher
SAVE_EVERY = 16  # passes between two entries of the progress
LEAST_CROPS = 64
# Of the pool: another one than any run's, so that runs of every seed share it.
_POOL_SEED = 982451653
_FORMAT = 1


@dataclass(frozen=True)
class _Tensor:
    """One kind of array in the cache.

    Attributes:
        name: Of its file, without suffix.
        dtype: uint8 or float16.
        shape: Of one crop's array, ``(height, width, channels)``.
    """

    name: str
    dtype: str
    shape: tuple

    @property
    def bytes(self):
        """Of one crop's array."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


class TeacherCache:
    """A pool of crops and the teacher's outputs for them.

    Make one with :func:`build_teacher_cache`.

    Args:
        folder: Of a complete cache.

    Attributes:
        crops: How many crops it holds.
        key: What it was made of, a dict.
        stages: Names of the teacher's stages that it holds.

    Raises:
        InputError: The folder holds no complete cache.
    """

    def __init__(self, folder: PathLike):
        self.folder = Path(folder)
        description = _read(self.folder / "cache.json")
        done = _read(self.folder / "progress.json")
        if description is None or done is None or done["crops"] < description["crops"]:
            raise InputError(f"{folder}: no complete cache of a teacher; build it first.")
        self.crops, self.key = description["crops"], description["key"]
        self.stages = tuple(description["stages"])
        self._tensors = [_Tensor(**each) for each in description["tensors"]]
        self._upright = Task.from_metadata(self.key).upright
        self._arrays = _open_arrays(self.folder, self._tensors, self.crops, "r")

    @property
    def bytes(self) -> int:
        """Size of the cache on disk."""
        return self.crops * sum(tensor.bytes for tensor in self._tensors)

    def batches(
        self, *, batch_size: int, steps: int, seed: int = 0, first_step: int = 0
    ) -> tf.data.Dataset:
        """Batches of crops, flipped and rotated, with the teacher's outputs for them.

        Every crop is drawn once before any is drawn again. Batch ``i`` depends on ``(seed, i)``
        alone, so a resumed run sees what an uninterrupted one would have seen. Flips and rotations
        (of rain, by half a turn alone) are applied to the teacher's outputs too, which is not quite
        what the teacher would give for the turned crop (``docs/method.md`` says what that costs).

        Args:
            batch_size: Crops in a batch.
            steps: Number of the last batch, plus one.
            seed: Seed of the run.
            first_step: Number of the first batch.

        Returns:
            A :class:`tf.data.Dataset` of ``(degraded, targets)``: float32 ``(batch_size, height,
            width, channels)``, and a dict of ``clean``, ``teacher_image`` and ``teacher_stages``
            (name to features), as :class:`keras_skd.Distiller` takes them.
        """
        import tensorflow as tf

        from keras_skd.data.pipeline import ahead

        def sample(step):
            order, turns, flips = self._drawn(int(step), batch_size, seed)
            return [
                np.stack(
                    [
                        _turned(array[index], turn, flip)
                        for index, turn, flip in zip(order, turns, flips, strict=True)
                    ]
                )
                for array in self._arrays.values()
            ]

        def batch(step):
            dtypes = [tf.as_dtype(tensor.dtype) for tensor in self._tensors]
            arrays = tf.numpy_function(sample, [step], dtypes, stateful=False)
            named = {}
            for tensor, array in zip(self._tensors, arrays, strict=True):
                array.set_shape((batch_size, *tensor.shape))
                values = tf.cast(array, tf.float32)
                named[tensor.name] = values / 255.0 if tensor.dtype == "uint8" else values
            return named["degraded"], {
                "clean": named["clean"],
                "teacher_image": named["image"],
                "teacher_stages": {name: named[f"stage_{name}"] for name in self.stages},
            }

        return ahead(batch, first_step, steps)

    def _drawn(self, step, batch_size, seed):
        """Indices, quarter turns and flips of a batch."""
        first = step * batch_size
        indices = []
        for place in range(first, first + batch_size):
            turn, offset = divmod(place, self.crops)
            indices.append(_permutation(self.crops, seed, turn)[offset])
        generator = np.random.default_rng((seed, step))
        turns, flips = generator.integers(0, 4, batch_size), generator.integers(0, 2, batch_size)
        # Rain that falls sideways would be learnt for nothing.
        return indices, turns - turns % 2 if self._upright else turns, flips


@lru_cache(maxsize=4)
def _permutation(crops, seed, turn):
    """The order of a pool in its ``turn``-th pass."""
    return np.random.default_rng((seed, turn, 1)).permutation(crops)


def _turned(array, quarter_turns, flip):
    turned = np.rot90(array, quarter_turns)
    return turned[:, ::-1] if flip else turned


def build_teacher_cache(
    folder: PathLike,
    teacher: keras.Model,
    store: ImageStore,
    *,
    task: Task,
    degradation: Degradation | None,
    patch_size: int,
    stages: Sequence[str] = (),
    crops: int | None = None,
    gigabytes: float | None = None,
) -> TeacherCache:
    """Builds a cache, resumes one whose build was interrupted, or opens the one that is there.

    Args:
        folder: Of the cache.
        teacher: A :class:`keras.Model` with ``taps``.
        store: An :class:`~keras_skd.data.ImageStore` of the training images.
        task: The :class:`~keras_skd.tasks.Task`.
        degradation: That of clean images; None for pairs.
        patch_size: Height and width of a crop in pixels.
        stages: Names of the teacher's stages to keep.
        crops: How many; or
        gigabytes: how much space (10^9 bytes) they may take. A cache that is there keeps its size.

    Returns:
        A :class:`TeacherCache`.

    Raises:
        InputError: The folder holds a cache of another teacher, task, data or setting, or there is
            no room for the least number of crops.
        OutputError: The disk is too small.
    """
    from keras_skd.models import weights_sha256

    folder = Path(folder)
    key = {
        "format": _FORMAT,
        "teacher_sha256": weights_sha256(teacher),
        "teacher_policy": teacher.dtype_policy.name,
        "images_sha256": store.digest(),
        **task.as_dict(),
        "degradation": repr(degradation),
        "patch_size": patch_size,
        "channels": teacher.input.shape[-1],
    }
    description = _read(folder / "cache.json")
    if description is not None:
        _check(folder, description, key, stages)
        stages = description["stages"]
    else:
        tensors = _tensors(teacher, patch_size, stages)
        each = sum(tensor.bytes for tensor in tensors)
        count = crops or int(gigabytes * 1e9 / each)
        if count < LEAST_CROPS:
            raise InputError(
                f"a teacher cache of {count} crops ({each / 1e3:.0f} KB each) is too small; at "
                f"least {LEAST_CROPS} are needed, and some thousands are good (--cache-size)."
            )
        description = {
            "key": key,
            "crops": count,
            "stages": list(stages),
            "tensors": [vars(tensor) for tensor in tensors],
        }
    tensors = [_Tensor(**each) for each in description["tensors"]]
    count = description["crops"]
    done = (_read(folder / "progress.json") or {"crops": 0})["crops"]
    if done < count:
        missing = (count - done) * sum(tensor.bytes for tensor in tensors)
        with output_folder(folder, needed_bytes=missing):
            write_json(folder / "cache.json", description)
            _compute(folder, teacher, store, degradation, patch_size, stages, tensors, count, done)
    return TeacherCache(folder)


def _compute(folder, teacher, store, degradation, patch_size, stages, tensors, count, done):
    """Runs the teacher on the crops that are missing, in order."""
    import keras
    import tensorflow as tf
    from tqdm import tqdm

    from keras_skd.data import training_batches

    arrays = _open_arrays(folder, tensors, count, "r+")
    outputs = [teacher.output, *(teacher.taps[name] for name in stages)]
    run = tf.function(keras.Model(teacher.input, outputs), reduce_retracing=True)
    passes = -(-count // BUILD_BATCH)
    batches = training_batches(
        store,
        patch_size=patch_size,
        batch_size=BUILD_BATCH,
        steps=passes,
        degradation=degradation,
        seed=_POOL_SEED,
        first_step=done // BUILD_BATCH,
        channels=teacher.input.shape[-1],
    )
    names = [tensor.name for tensor in tensors[2:]]
    with tqdm(
        total=count, initial=done, desc="teacher", unit="crop", disable=None, leave=False
    ) as bar:
        for number, (degraded, clean) in enumerate(batches, done // BUILD_BATCH):
            first = number * BUILD_BATCH
            kept = min(BUILD_BATCH, count - first)
            place = slice(first, first + kept)
            arrays["clean"][place] = np.rint(255 * clean[:kept].numpy())
            arrays["degraded"][place] = degraded[:kept].numpy()
            for name, values in zip(names, run(degraded, training=False), strict=True):
                arrays[name][place] = values[:kept].numpy()
            bar.update(kept)
            if (number + 1) % SAVE_EVERY == 0 or first + kept == count:
                for array in arrays.values():
                    array.flush()
                write_json(folder / "progress.json", {"crops": first + kept})


def _tensors(teacher, patch_size, stages):
    """The arrays of a cache, in the order in which they are computed."""
    import keras

    channels = teacher.input.shape[-1]
    image = (patch_size, patch_size, channels)
    found = [_Tensor("clean", "uint8", image), _Tensor("degraded", "float16", image)]
    found.append(_Tensor("image", "float16", image))
    if stages:
        model = keras.Model(teacher.input, [teacher.taps[name] for name in stages])
        shapes = model.compute_output_shape((1, *image))
        found += [
            _Tensor(f"stage_{name}", "float16", tuple(map(int, shape[1:])))
            for name, shape in zip(stages, shapes, strict=True)
        ]
    return found


def _open_arrays(folder, tensors, count, mode):
    arrays = {}
    for tensor in tensors:
        path = folder / f"{tensor.name}.bin"
        if mode == "r+" and not path.exists():
            mode = "w+"
        arrays[tensor.name] = np.memmap(path, tensor.dtype, mode, shape=(count, *tensor.shape))
    return arrays


def _check(folder, description, key, stages):
    there = description["key"]
    differing = [
        f"{name} {there.get(name)!r}, now {value!r}"
        for name, value in key.items()
        if there.get(name) != value
    ]
    missing = [name for name in stages if name not in description["stages"]]
    if missing:
        differing.append(f"stages {description['stages']}, now {', '.join(missing)} too")
    if differing:
        raise InputError(
            f"{folder} holds a teacher cache of other settings ({'; '.join(differing)}); choose "
            "another --teacher-cache, or remove the folder."
        )


def _read(path):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        raise InputError(f"{path}: damaged; remove the folder.") from None
