import shutil

import numpy as np
import pytest
from PIL import Image

from keras_skd.data import ImageStore, find_groups


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


def test_pairs_are_found_whatever_their_suffix(tmp_path):
    save(tmp_path / "input", ["b.png", "a.jpg"])
    save(tmp_path / "target", ["a.png", "b.png"])
    groups = find_groups(tmp_path, "deblur")
    assert [[path.name for path in group] for group in groups] == [
        ["a.jpg", "a.png"],
        ["b.png", "b.png"],
    ]


def test_clean_photos_serve_denoising_only(tmp_path):
    save(tmp_path / "photos", ["a.png"])
    assert [group[0].name for group in find_groups(tmp_path / "photos", "denoise")] == ["a.png"]
    with pytest.raises(ValueError, match="derain trains on pairs"):
        find_groups(tmp_path / "photos", "derain")


def test_image_without_partner_is_named(tmp_path):
    save(tmp_path / "input", ["a.png", "alone.png"])
    save(tmp_path / "target", ["a.png"])
    with pytest.raises(ValueError, match=r"1 images have no partner.*alone"):
        find_groups(tmp_path, "denoise")


def test_half_a_pair_of_folders_is_named(tmp_path):
    save(tmp_path / "input", ["a.png"])
    with pytest.raises(FileNotFoundError, match="target"):
        find_groups(tmp_path, "denoise")
