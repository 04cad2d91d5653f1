"""Layouts as the data sets are unpacked; the files are stand-ins of the same names."""

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from keras_skd.data import ImageStore, find_groups, load_image, recognise
from keras_skd.data.mat_files import _cached


def save(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(path)


def names(data):
    return [tuple(p.relative_to(data.folder).as_posix() for p in group) for group in data.groups]


# Folder, files of the data set, and: name, task, and the pair that must be found.
LAYOUTS = {
    "Rain13K": (
        "Rain13K/train/Rain13K",
        ["input/1.jpg", "target/1.jpg", "input/10.jpg", "target/10.jpg"],
        ("Rain13K", "derain", ("input/10.jpg", "target/10.jpg")),
    ),
    "Test2800": (
        "test/Test2800",
        ["input/901_1.png", "target/901_1.png"],
        ("Test2800", "derain", ("input/901_1.png", "target/901_1.png")),
    ),
    "Rain100H, the first": (
        "Rain100H",
        ["rainy/rain-001.png", "norain-001.png"],
        ("Rain100H", "derain", ("rainy/rain-001.png", "norain-001.png")),
    ),
    "Rain100L, flat": (
        "Rain100L",
        ["rain-001.png", "norain-001.png"],
        ("Rain100L", "derain", ("rain-001.png", "norain-001.png")),
    ),
    "Rain200L": (
        "Rain200L/test",
        ["rain/X2/norain-1x2.png", "norain/norain-1.png"],
        ("Rain200L", "derain", ("rain/X2/norain-1x2.png", "norain/norain-1.png")),
    ),
    "Rain1400": (
        "Rain1400/rainy_image_dataset/testing",
        ["rainy_image/901_14.jpg", "rainy_image/901_2.jpg", "ground_truth/901.jpg"],
        ("Rain1400", "derain", ("rainy_image/901_14.jpg", "ground_truth/901.jpg")),
    ),
    "SPA": (
        "real_test_1000",
        ["rain/000.png", "gt/000gt.png"],
        ("SPA", "derain", ("rain/000.png", "gt/000gt.png")),
    ),
    "GoPro": (
        "GOPRO_Large/test",
        [f"GOPR0384_11_00/{side}/000001.png" for side in ("blur", "blur_gamma", "sharp")],
        ("GoPro", "deblur", ("GOPR0384_11_00/blur/000001.png", "GOPR0384_11_00/sharp/000001.png")),
    ),
    "HIDE": (
        "HIDE_dataset",
        [
            *("test/test-close-ups/1.png", "test/test-long-shot/2.png", "train/3.png"),
            *("GT/1.png", "GT/2.png", "GT/3.png"),
        ],
        ("HIDE", "deblur", ("test/test-long-shot/2.png", "GT/2.png")),
    ),
    "RealBlur-J": (
        "RealBlur-J_ECC_IMCORR_centroid_itensity_ref",
        ["scene002/blur/blur_1.png", "scene002/gt/gt_1.png"],
        ("RealBlur-J", "deblur", ("scene002/blur/blur_1.png", "scene002/gt/gt_1.png")),
    ),
    "RealBlur-R": (
        "RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref",
        ["scene002/blur/blur_1.png", "scene002/gt/gt_1.png"],
        ("RealBlur-R", "deblur", ("scene002/blur/blur_1.png", "scene002/gt/gt_1.png")),
    ),
    "SIDD medium": (
        "SIDD_Medium_Srgb",
        ["Data/0001_001_S6/0001_NOISY_SRGB_010.PNG", "Data/0001_001_S6/0001_GT_SRGB_010.PNG"],
        (
            "SIDD",
            "denoise",
            ("Data/0001_001_S6/0001_NOISY_SRGB_010.PNG", "Data/0001_001_S6/0001_GT_SRGB_010.PNG"),
        ),
    ),
    "SIDD small": (
        "SIDD_Small_sRGB_Only/Data",
        ["0001_001_S6/NOISY_SRGB_010.PNG", "0001_001_S6/GT_SRGB_010.PNG"],
        ("SIDD", "denoise", ("0001_001_S6/NOISY_SRGB_010.PNG", "0001_001_S6/GT_SRGB_010.PNG")),
    ),
    "any pairs": (
        "mine",
        ["input/b.png", "input/a.jpg", "target/a.png", "target/b.png"],
        ("pairs", None, ("input/a.jpg", "target/a.png")),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_recognised(tmp_path, layout):
    folder, files, (name, task, pair) = LAYOUTS[layout]
    save(tmp_path / folder, files)
    (tmp_path / folder / "readme.txt").write_text("not an image")
    data = recognise(tmp_path / folder)
    assert (data.name, data.task, data.kind) == (name, task, "pairs")
    assert pair in names(data)
    assert len({group[0] for group in data.groups}) == len(data.groups)
    assert f"{len(data.groups)} pairs" in str(data)
    if name != "pairs":
        assert name in str(data)
    # The same from the folder around it.
    assert recognise((tmp_path / folder).parent).groups == data.groups


def test_inputs_without_target_are_named(tmp_path):
    for layout, target in (("GoPro", "sharp"), ("Rain1400", "ground_truth"), ("HIDE", "GT")):
        folder, files, _ = LAYOUTS[layout]
        save(tmp_path / layout / folder, files)
        extra = [file.replace("000001", "000009").replace("901_2", "777_2") for file in files]
        extra = [file.replace("test/test-close-ups/1", "test/test-close-ups/9") for file in extra]
        save(tmp_path / layout / folder, [file for file in extra if target not in file])
        with pytest.raises(ValueError, match=r"images have no target: .*(000009|777_2|9)"):
            recognise(tmp_path / layout / folder)


def test_splits(tmp_path):
    for split in ("train", "test"):
        frame = f"GOPRO_Large/{split}/GOPR0384_11_00/{{}}/{split}.png"
        save(tmp_path, [frame.format("blur"), frame.format("sharp")])
    save(tmp_path / "HIDE_dataset", LAYOUTS["HIDE"][1])
    for split in ("train", "test"):
        (group,) = find_groups(tmp_path / "GOPRO_Large", "deblur", split)
        assert group[0].stem == group[1].stem == split
    assert names(recognise(tmp_path / "HIDE_dataset", "train")) == [("train/3.png", "GT/3.png")]


def test_the_lists_of_realblur_choose_the_split(tmp_path):
    folder = tmp_path / "RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref"
    save(folder, [f"scene00{i}/{n}.png" for i in (1, 2) for n in ("blur/blur_1", "gt/gt_1")])
    for split, scene in (("train", 1), ("test", 2)):
        line = (
            f"{folder.name}/scene00{scene}/gt/gt_1.png {folder.name}/scene00{scene}/blur/blur_1.png"
        )
        (tmp_path / f"RealBlur_R_{split}_list.txt").write_text(line + "\n")
    assert names(recognise(folder, "test")) == [
        ("scene002/blur/blur_1.png", "scene002/gt/gt_1.png")
    ]
    assert names(recognise(folder, "train"))[0][0] == "scene001/blur/blur_1.png"
    (tmp_path / "RealBlur_R_test_list.txt").write_text("other/gt/gt_1.png other/blur/blur_1.png\n")
    with pytest.raises(ValueError, match="names none of the images"):
        recognise(folder, "test")


def test_the_list_of_spa(tmp_path):
    save(tmp_path, ["real_world/1/a.png", "real_world/1/b.png", "real_world_gt/1/c.png"])
    text = "/real_world/1/a.png /real_world_gt/1/c.png\nreal_world/1/b.png real_world_gt/1/c.png\n"
    (tmp_path / "real_world.txt").write_text(text)
    data = recognise(tmp_path, "train")
    assert data.name == "SPA"
    assert names(data)[0] == ("real_world/1/a.png", "real_world_gt/1/c.png")
    assert len(data.groups) == 2
    (tmp_path / "real_world.txt").write_text("real_world/1/a.png\n")
    with pytest.raises(ValueError, match="line 1 does not name two files"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("folder", "files", "name"),
    [
        ("CBSD68", ["101085.png", "101087.png"], "CBSD68"),
        ("photos", [f"kodim{i:02d}.png" for i in range(1, 25)], "Kodak24"),
        ("photos", [f"{i}.tif" for i in range(1, 19)], "McMaster"),
        ("photos", [f"img_{i:03d}.png" for i in range(1, 101)], "Urban100"),
        ("space", ["a.png"], "clean photographs"),
    ],
)
def test_clean_sets(tmp_path, folder, files, name):
    save(tmp_path / folder, files)
    data = recognise(tmp_path / folder)
    assert (data.name, data.kind, len(data.groups)) == (name, "clean", len(files))
    for task in ("denoise", "derain", "deblur"):
        assert find_groups(tmp_path / folder, task) == data.groups


def test_what_is_not_recognised_is_an_error_that_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        recognise(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no images in it"):
        recognise(tmp_path)
    save(tmp_path, ["Rain100H/input/1.png", "Rain100H/target/1.png"])
    save(tmp_path, ["Rain100L/input/1.png", "Rain100L/target/1.png"])
    with pytest.raises(ValueError, match=r"several data sets.*Rain100H, .*Rain100L"):
        recognise(tmp_path)
    with pytest.raises(ValueError, match="not a folder"):
        recognise(tmp_path / "Rain100H/input/1.png")


def test_image_without_partner_is_named(tmp_path):
    save(tmp_path, ["input/a.png", "input/alone.png", "target/a.png"])
    with pytest.raises(ValueError, match=r"1 images have no partner.*alone"):
        find_groups(tmp_path, "denoise")


def test_half_a_pair_of_folders_is_named(tmp_path):
    save(tmp_path, ["input/a.png"])
    with pytest.raises(FileNotFoundError, match="target"):
        find_groups(tmp_path, "denoise")


@pytest.fixture
def _forgetful():
    _cached.cache_clear()


@pytest.mark.usefixtures("_forgetful")
@pytest.mark.parametrize("version", ["5", "7.3"])
def test_sidd_blocks(tmp_path, version):
    generator = np.random.default_rng(0)
    blocks = {}
    for name in ("ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"):
        blocks[name] = generator.integers(0, 256, (2, 3, 16, 16, 3), np.uint8)
        if version == "5":
            scipy.io.savemat(tmp_path / f"{name}.mat", {name: blocks[name]})
        else:
            with h5py.File(tmp_path / f"{name}.mat", "w", userblock_size=512) as file:
                file[name] = blocks[name].T
    data = recognise(tmp_path)
    assert str(data).endswith("SIDD validation, 6 pairs of input and target")
    noisy, clean = data.groups[5]
    assert noisy.name == "0002_03"
    assert np.array_equal(noisy.read(), blocks["ValidationNoisyBlocksSrgb"][1, 2])
    assert np.array_equal(load_image(clean), blocks["ValidationGtBlocksSrgb"][1, 2])
    store = ImageStore(find_groups(tmp_path, "denoise"), 16, tmp_path)
    assert np.array_equal(store[4][1], blocks["ValidationGtBlocksSrgb"][1, 1])


@pytest.mark.usefixtures("_forgetful")
def test_dnd_crops(tmp_path):
    image = np.random.default_rng(0).uniform(size=(40, 50, 3)).astype(np.float32)
    (tmp_path / "images_srgb").mkdir()
    with h5py.File(tmp_path / "images_srgb/0001.mat", "w", userblock_size=512) as file:
        file["InoisySRGB"] = image.T
    with h5py.File(tmp_path / "info.mat", "w", userblock_size=512) as file:
        boxes = np.array([[1, 1, 20, 20], [5, 31, 36, 50]])
        file["#refs#/a"] = boxes.T.astype(np.float64)
        file["info/boundingboxes"] = np.array([[file["#refs#/a"].ref]], dtype=h5py.ref_dtype)
    data = recognise(tmp_path)
    assert (data.name, data.kind, len(data.groups)) == ("DND", "noisy", 2)
    ((crop,),) = data.groups[1:]
    assert crop.name == "0001_02"
    assert np.array_equal(crop.read(), np.rint(image[4:36, 30:50] * 255).astype(np.uint8))
    with pytest.raises(ValueError, match="no public ground truth"):
        find_groups(tmp_path, "denoise")


@pytest.mark.usefixtures("_forgetful")
@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file", b"\x89HDF\r\n\x1a\n" + bytes(99)])
def test_damaged_mat_files_are_named(tmp_path, content):
    for name in ("ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"):
        (tmp_path / f"{name}.mat").write_bytes(content)
    with pytest.raises(ValueError, match=r"ValidationNoisyBlocksSrgb\.mat: "):
        recognise(tmp_path)


def test_the_real_samples_are_recognised(shared_folder):
    data = shared_folder / "data"
    for folder, name, kind, count in (
        ("test/cbsd68", "CBSD68", "clean", 68),
        ("test/rain100h", "Rain100H", "pairs", 30),
        ("test/reds_blur", "pairs", "pairs", 40),
        ("test/polyu_noise", "pairs", "pairs", None),
        ("train/clean", "clean photographs", "clean", 892),
        ("train/nturain", "pairs", "pairs", 21),
    ):
        found = recognise(data / folder)
        assert (found.name, found.kind) == (name, kind)
        assert count in (None, len(found.groups))
        for source in found.groups[0]:
            assert load_image(source).shape[2] == 3
