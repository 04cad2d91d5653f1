import shutil

import numpy as np
import pytest
from PIL import Image

from keras_skd.data import ImageStore


@pytest.fixture
def images():
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (20 + i, 30 - i, 3), np.uint8) for i in range(4)]


def save(folder, names, size=(32, 32)):
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", size).save(folder / name)


def test_store_returns_what_was_put_in_and_leaves_no_file(images, tmp_path):
    store = ImageStore([(image, 255 - image) for image in images], 16, tmp_path)
    assert len(store) == 4
    for index, image in enumerate(images):
        first, second = store[index]
        assert np.array_equal(first, image)
        assert np.array_equal(second, 255 - image)
    assert list(tmp_path.iterdir()) == []


def test_small_image_is_named(tmp_path):
    save(tmp_path / "photos", ["fine.png"])
    save(tmp_path / "small", ["tiny.png"], size=(32, 15))
    groups = [(tmp_path / "photos/fine.png",), (tmp_path / "small/tiny.png",)]
    with pytest.raises(ValueError, match=r"tiny\.png: 32x15 pixels are smaller than the patch"):
        ImageStore(groups, 16, tmp_path)


def test_pair_of_two_sizes_is_named(tmp_path):
    save(tmp_path / "input", ["a.png"], size=(32, 32))
    save(tmp_path / "target", ["a.png"], size=(32, 40))
    with pytest.raises(ValueError, match="differ in size"):
        ImageStore([(tmp_path / "input/a.png", tmp_path / "target/a.png")], 16, tmp_path)


def test_too_little_disk_is_found_before_decoding(images, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    with pytest.raises(OSError, match="1 MiB are free"):
        ImageStore([(image,) for image in images], 16, tmp_path)


def test_rows_are_read_of_every_image_of_a_group(images, tmp_path):
    store = ImageStore([(image, 255 - image) for image in images], 16, tmp_path)
    for index, image in enumerate(images):
        assert store.shape(index) == image.shape
        first, second = store.rows(index, 3, 11)
        assert np.array_equal(first, image[3:11])
        assert np.array_equal(second, 255 - image[3:11])


def test_images_are_stored_in_order_whichever_is_decoded_first(tmp_path):
    groups = []
    for index in range(40):
        # The first are the largest, so that with several threads the later ones are done first.
        size = (200 - 4 * index, 16 + index)
        Image.new("RGB", size, (index, 2, 3)).save(tmp_path / f"{index}.png")
        groups.append((tmp_path / f"{index}.png",))
    store = ImageStore(groups, 16, tmp_path)
    for index in range(40):
        assert store.shape(index) == (16 + index, 200 - 4 * index, 3)
        assert (store[index][0][..., 0] == index).all()
