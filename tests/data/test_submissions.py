"""What SIDD's and DND's servers take, read back as their scripts read it."""

import base64
import csv

import h5py
import numpy as np
import pytest
import scipy.io

from keras_skd.data import load_image
from keras_skd.data.datasets import recognise
from keras_skd.data.submissions import check_submission, find_submission, write_submission
from keras_skd.errors import FailedCheckError, InputError, MissingFileError

BENCHMARK = "BenchmarkNoisyBlocksSrgb"


def save_mat(path, variable, array, version="5"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if version == "5":
        scipy.io.savemat(path, {variable: array})
        return
    with h5py.File(path, "w", userblock_size=512) as file:
        file[variable] = np.asarray(array).T


@pytest.fixture
def blocks(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 12, 3), np.uint8)
    save_mat(tmp_path / f"sidd/{BENCHMARK}.mat", BENCHMARK, array)
    return array


def save_dnd(folder, image, version):
    boxes = np.array([[1, 1, 20, 20], [5, 31, 36, 50]])
    folder.mkdir()
    if version == "5":
        cells = np.empty((1, 2), object)
        cells[0, 0] = cells[0, 1] = boxes.astype(np.float64)
        scipy.io.savemat(folder / "info.mat", {"info": {"boundingboxes": cells}})
    else:
        with h5py.File(folder / "info.mat", "w", userblock_size=512) as file:
            file["#refs#/a"] = boxes.T.astype(np.float64)
            file["info/boundingboxes"] = np.array(
                [[file["#refs#/a"].ref], [file["#refs#/a"].ref]], dtype=h5py.ref_dtype
            )
    for number in (1, 2):
        save_mat(folder / f"images_srgb/{number:04d}.mat", "InoisySRGB", image / number, version)


def darker(image):
    return image / 2


def test_sidd_as_matlab_writes_it(tmp_path, blocks):
    data = find_submission(tmp_path)
    assert (data.name, data.kind, len(data.groups)) == ("SIDD benchmark", "noisy", 6)
    result = write_submission(tmp_path / "out/SubmitSrgb.mat", data, darker, method="ours")
    content = scipy.io.loadmat(tmp_path / "out/SubmitSrgb.mat")
    cells = content["DenoisedBlocksSrgb"]
    assert cells.shape == (2, 3)
    assert cells.dtype == object
    for place in np.ndindex(2, 3):
        assert cells[place].dtype == np.float32
        assert np.array_equal(cells[place], blocks[place] / np.float32(255) / 2)
    assert content["TimeMPSrgb"].shape == (1, 1)
    assert content["TimeMPSrgb"][0, 0] == pytest.approx(result.seconds_per_megapixel)
    assert content["OptionalData"]["MethodName"][0, 0] == ["ours"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["SubmitSrgb.mat"]
    assert "2 x 3 images of SIDD benchmark" in str(result)
    assert "incomplete, the server expects 40 x 32" in str(result)


def test_sidd_as_the_page_of_the_competition_takes_it(tmp_path, blocks):
    write_submission(tmp_path / "SubmitSrgb.csv", find_submission(tmp_path), darker)
    csv.field_size_limit(10**7)
    with open(tmp_path / "SubmitSrgb.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["ID"] for row in rows] == [str(number) for number in range(6)]
    for row, block in zip(rows, blocks.reshape(6, 16, 12, 3), strict=True):
        values = np.frombuffer(base64.b64decode(row["BLOCK"]), np.uint8).reshape(16, 12, 3)
        assert np.array_equal(values, np.rint(block / 2))


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_dnd_as_its_authors_bundle_it(tmp_path, version):
    image = np.random.default_rng(0).uniform(size=(40, 50, 3)).astype(np.float32)
    save_dnd(tmp_path / "dnd", image, version)
    data = find_submission(tmp_path)
    result = write_submission(tmp_path / "bundled", data, darker)
    assert sorted(path.name for path in (tmp_path / "bundled").iterdir()) == [
        "0001.mat",
        "0002.mat",
    ]
    for number in (1, 2):
        content = scipy.io.loadmat(tmp_path / f"bundled/{number:04d}.mat")
        assert content["Idenoised"].shape == (1, 2)
        assert content["israw"].tolist() == [[0]]
        assert content["eval_version"].tolist() == ["1.0"]
        # Not rounded to 8 bits on the way.
        crop = content["Idenoised"][0, 1]
        assert crop.dtype == np.float32
        assert crop.shape[:2] == data.groups[1][0].size
        assert np.allclose(crop, image[4:36, 30:50] / number / 2, rtol=0, atol=1e-7)
    assert "2 x 2 images of DND" in str(result)


def test_values_are_cut_to_the_range_of_images(tmp_path, blocks):
    data = find_submission(tmp_path)
    write_submission(tmp_path / "a.mat", data, lambda image: image * 4 - 1)
    cells = scipy.io.loadmat(tmp_path / "a.mat")["DenoisedBlocksSrgb"]
    values = np.stack([cells[place] for place in np.ndindex(2, 3)])
    assert (values.min(), values.max()) == (0, 1)


@pytest.mark.parametrize("path", ["a.mat", "a.csv"])
@pytest.mark.parametrize(
    ("restore", "reason"),
    [
        (lambda image: image[:8], "was restored of"),
        (lambda image: image * np.float32("nan"), "not finite"),
    ],
)
def test_what_a_model_gets_wrong_leaves_the_earlier_file(tmp_path, blocks, path, restore, reason):
    (tmp_path / path).write_text("earlier")
    called = []

    def fails_late(image):
        called.append(1)
        return restore(image) if len(called) == 4 else image

    with pytest.raises(FailedCheckError, match=reason):
        write_submission(tmp_path / path, find_submission(tmp_path), fails_late)
    assert (tmp_path / path).read_text() == "earlier"
    assert {entry.name for entry in tmp_path.iterdir()} == {path, "sidd"}


def test_a_failure_leaves_no_part_of_dnd(tmp_path):
    save_dnd(tmp_path / "dnd", np.zeros((40, 50, 3), np.float32), "7.3")
    called = []

    def fails_late(image):
        called.append(1)
        return image[:8] if len(called) == 5 else image

    with pytest.raises(FailedCheckError):
        write_submission(tmp_path / "bundled", find_submission(tmp_path), fails_late)
    assert not (tmp_path / "bundled").exists()


def test_the_time_leaves_the_first_call_out(tmp_path, blocks):
    import time

    called = []

    def slow_at_first(image):
        called.append(1)
        time.sleep(0.5 if len(called) == 1 else 0)
        return image

    result = write_submission(tmp_path / "a.csv", find_submission(tmp_path), slow_at_first)
    assert len(called) == 7
    # Half a second over 6 blocks of 16x12 pixels would be 455 s a megapixel.
    assert result.seconds_per_megapixel < 455 / 2


def test_the_benchmark_beside_the_validation(tmp_path, blocks):
    for name in ("ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"):
        save_mat(tmp_path / f"sidd/{name}.mat", name, blocks[:1])
    assert recognise(tmp_path, task="denoise").name == "SIDD validation"
    assert len(recognise(tmp_path).groups) == 3
    data = find_submission(tmp_path)
    assert (data.name, len(data.groups)) == ("SIDD benchmark", 6)


def test_what_cannot_be_submitted(tmp_path, blocks):
    data = find_submission(tmp_path / "sidd")
    for path in ("SubmitSrgb", "SubmitSrgb.zip", "sidd"):
        with pytest.raises(InputError, match=r"give NAME\.mat or NAME\.csv"):
            check_submission(tmp_path / path, data)
    save_dnd(tmp_path / "dnd", np.zeros((40, 50, 3), np.float32), "5")
    with pytest.raises(InputError, match=r"holds several benchmarks.*dnd.*sidd"):
        find_submission(tmp_path)
    with pytest.raises(InputError, match=r"0001\.mat and so on; give a folder .*/out\."):
        check_submission(tmp_path / "out.mat", find_submission(tmp_path / "dnd"))
    with pytest.raises(InputError, match="neither SIDD's benchmark"):
        find_submission(tmp_path / "dnd/images_srgb")
    with pytest.raises(MissingFileError):
        find_submission(tmp_path / "nowhere")


def test_clean_images_are_no_submission(tmp_path):
    from PIL import Image

    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="is measured here"):
        check_submission(tmp_path / "a.mat", recognise(tmp_path))


def test_crops_outside_their_image_are_refused(tmp_path):
    save_dnd(tmp_path / "dnd", np.zeros((30, 30, 3), np.float32), "7.3")
    with pytest.raises(InputError, match=r"crop 2 of 0001\.mat does not lie in its 30x30"):
        find_submission(tmp_path)


def test_values_that_are_not_finite_are_named(tmp_path):
    image = np.full((40, 50, 3), np.nan, np.float32)
    save_dnd(tmp_path / "dnd", image, "5")
    with pytest.raises(InputError, match=r"0001\.mat:0001_01: holds values that are not finite"):
        load_image(find_submission(tmp_path).groups[0][0])
