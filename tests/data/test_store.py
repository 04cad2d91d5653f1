import shutil

import numpy as np
import pytest
from PIL import Image

from keras_skd.data import ImageStore
from keras_skd.errors import InputError


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


def test_clean_images_and_pairs_lie_in_one_store(images, tmp_path):
    groups = [(images[0],), (255 - images[1], images[1]), (images[2],)]
    store = ImageStore(groups, 16, tmp_path)
    assert store.kinds == {1, 2}
    for index, group in enumerate(groups):
        assert len(store[index]) == len(group)
        for read, image in zip(store[index], group, strict=True):
            assert np.array_equal(read, image)
    assert ImageStore(groups[:1], 16, tmp_path).kinds == {1}
    assert ImageStore(groups[1:2], 16, tmp_path).kinds == {2}


def test_draws_follow_the_shares_and_stay_within_their_part(images, tmp_path):
    groups = [(image,) for image in images]
    store = ImageStore.mixed([(groups[:1], 6), (groups[1:3], 3), (groups[3:], 1)], 16, tmp_path)
    generator = np.random.default_rng(0)
    counts = np.bincount([store.draw(generator) for _ in range(4000)], minlength=4) / 4000
    # 4000 draws have a standard error of at most 0.008.
    np.testing.assert_allclose(counts, [0.6, 0.15, 0.15, 0.1], atol=0.03)
    equal = ImageStore(groups, 16, tmp_path)
    counts = np.bincount([equal.draw(generator) for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(counts, 0.25, atol=0.03)


@pytest.mark.parametrize("share", [0, -1, float("nan"), float("inf")])
def test_a_share_is_above_nothing_and_finite(images, tmp_path, share):
    with pytest.raises(InputError, match="shares must be numbers above 0"):
        ImageStore.mixed([([(images[0],)], 1), ([(images[1],)], share)], 16, tmp_path)


@pytest.mark.parametrize("empty", [True, False])
def test_a_mix_has_images_in_each_folder(images, tmp_path, empty):
    parts = [([(images[0],)], 1), ([], 1)] if empty else []
    with pytest.raises(InputError, match="a mix needs at least one folder"):
        ImageStore.mixed(parts, 16, tmp_path)
