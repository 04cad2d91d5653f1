"""Layouts as the data sets are unpacked; the files are stand-ins of the same names."""

import re

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from keras_skd.data import ImageStore, find_groups, load_image, recognise
from keras_skd.data.mat_files import _cached
from keras_skd.errors import InputError, MissingFileError


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
    "Restormer's crops": (
        "Datasets/train/GoPro",
        [f"{side}_crops/{i}.png" for side in ("input", "target") for i in (1, 2)],
        ("GoPro", "deblur", ("input_crops/2.png", "target_crops/2.png")),
    ),
    "Uformer's": (
        "SIDD/val",
        ["input/1.png", "groundtruth/1.png"],
        ("SIDD", "denoise", ("input/1.png", "groundtruth/1.png")),
    ),
    "DPDD, Restormer's": (
        "Datasets/test/DPDD",
        [f"{side}/1P0A1.png" for side in ("inputL", "inputR", "inputC", "target")],
        ("DPDD", "deblur", ("inputC/1P0A1.png", "target/1P0A1.png")),
    ),
    "DPDD as published": (
        "dd_dp_dataset_png/test_c",
        [
            f"{side}/1P0A{number}.png"
            for side, number in (
                ("source", "0907"),
                ("source", "1031"),
                ("target", "0908"),
                ("target", "1032"),
            )
        ],
        ("DPDD", "deblur", ("source/1P0A1031.png", "target/1P0A1032.png")),
    ),
    "REDS": (
        "REDS",
        ["val_blur/000/00000001.png", "val_sharp/000/00000001.png"],
        ("REDS", "deblur", ("val_blur/000/00000001.png", "val_sharp/000/00000001.png")),
    ),
    "NTURain": (
        "NTURain/Dataset_Testing_Synthetic",
        [f"{video}_{side}/00001.jpg" for video in ("a1", "a2") for side in ("Rain", "GT")],
        ("NTURain", "derain", ("a2_Rain/00001.jpg", "a2_GT/00001.jpg")),
    ),
    "PolyU": (
        "PolyU/CroppedImages",
        [f"Canon5D2_5_160_3200_plug_1{i}_{side}.JPG" for i in (1, 2) for side in ("real", "mean")],
        (
            "PolyU",
            "denoise",
            (
                "Canon5D2_5_160_3200_plug_12_real.JPG",
                "Canon5D2_5_160_3200_plug_12_mean.JPG",
            ),
        ),
    ),
    "PolyU, whole": (
        "OriginalImages",
        ["Canon5D2_5_160_3200_plug_Real.JPG", "Canon5D2_5_160_3200_plug_mean.JPG"],
        (
            "PolyU",
            "denoise",
            ("Canon5D2_5_160_3200_plug_Real.JPG", "Canon5D2_5_160_3200_plug_mean.JPG"),
        ),
    ),
    "SIDD, one folder": (
        "0001_001_S6_00100_00060_3200_L",
        ["0001_NOISY_SRGB_010.PNG", "0001_GT_SRGB_010.PNG"],
        ("SIDD", "denoise", ("0001_NOISY_SRGB_010.PNG", "0001_GT_SRGB_010.PNG")),
    ),
    "blur and sharp": (
        "mine",
        ["blur/1.png", "sharp/1.png"],
        ("pairs", "deblur", ("blur/1.png", "sharp/1.png")),
    ),
    "Blur and Sharp of scenes": (
        "BSD_3ms24ms",
        [f"{video}/{side}/RGB/001.png" for video in ("000", "017") for side in ("Blur", "Sharp")],
        ("pairs", "deblur", ("017/Blur/RGB/001.png", "017/Sharp/RGB/001.png")),
    ),
    "rain and norain": (
        "mine",
        ["rain/1.png", "norain/1.PNG"],
        ("pairs", "derain", ("rain/1.png", "norain/1.PNG")),
    ),
    "names of sides": (
        "mine",
        [
            *("Rainy Images/rain-1.png", "Rainy Images/rain-10.png"),
            *("No_Rain/norain-001.png", "No_Rain/norain-010.png"),
        ],
        ("pairs", "derain", ("Rainy Images/rain-10.png", "No_Rain/norain-010.png")),
    ),
    "renderings of one target": (
        "mine",
        ["rainy/901_1.jpg", "rainy/901_14.jpg", "rainy/9_1.jpg", "clean/901.png", "clean/9.png"],
        ("pairs", "derain", ("rainy/901_14.jpg", "clean/901.png")),
    ),
    "lq and gt": (
        "mine",
        ["lq/a/1.png", "gt/a/1.png"],
        ("pairs", None, ("lq/a/1.png", "gt/a/1.png")),
    ),
    "LQ and GT, capitals in names": (
        "mine",
        ["LQ/IMG_1.JPG", "GT/img_1.png"],
        ("pairs", None, ("LQ/IMG_1.JPG", "GT/img_1.png")),
    ),
    "noisy and clean": (
        "mine",
        ["Noisy/7x2.png", "Clean/7.png"],
        ("pairs", "denoise", ("Noisy/7x2.png", "Clean/7.png")),
    ),
    "one folder, in and gt": (
        "mine",
        ["001_in.png", "001_gt.png", "002_in.png", "002_gt.png"],
        ("pairs", None, ("002_in.png", "002_gt.png")),
    ),
    "one folder, one side marked": (
        "mine",
        ["7_noisy.png", "7.png", "8_noisy.png", "8.png"],
        ("pairs", "denoise", ("8_noisy.png", "8.png")),
    ),
    "Rain100's names in two folders": (
        "mine",
        ["rainy/rain-001.png", "norain/norain-001.png"],
        ("pairs", "derain", ("rainy/rain-001.png", "norain/norain-001.png")),
    ),
    "one folder, blur and sharp": (
        "mine",
        ["blur12.png", "sharp12.png"],
        ("pairs", "deblur", ("blur12.png", "sharp12.png")),
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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_capitals_and_folders_around_do_not_matter(tmp_path, layout):
    folder, files, (name, task, pair) = LAYOUTS[layout]
    save(tmp_path / "a" / "b" / folder.upper(), [file.upper() for file in files])
    data = recognise(tmp_path)
    assert (data.name, data.task, data.kind) == (name, task, "pairs")
    root = tmp_path / "a" / "b" / folder.upper()
    found = [tuple(path.relative_to(root).as_posix() for path in group) for group in data.groups]
    assert tuple(part.upper() for part in pair) in found


@pytest.mark.parametrize(
    ("layout", "name"),
    [("SIDD medium", "SIDD"), ("PolyU", "PolyU"), ("Rain100L, flat", "Rain100")],
)
def test_inputs_of_known_names_are_not_taken_for_clean_photographs(tmp_path, layout, name):
    _, files, _ = LAYOUTS[layout]
    save(tmp_path, [file for file in files if not re.search("GT|mean|norain", file)])
    with pytest.raises(InputError, match=f"looks like {name}, but . images have no target"):
        recognise(tmp_path)


def test_what_an_archive_of_a_mac_adds_is_not_seen(tmp_path):
    folder, files, (name, task, _) = LAYOUTS["GoPro"]
    save(tmp_path / folder, files)
    clean = recognise(tmp_path, task=task)
    for file in files:
        for extra in (f"__MACOSX/{folder}/{file}", f"{folder}/.cache/{file}"):
            save(tmp_path, [extra])
        place = (tmp_path / folder / file).parent
        (place / "._000001.png").write_bytes(b"resource fork")
    assert recognise(tmp_path, task=task) == clean
    assert name in str(clean)


def test_composed_and_decomposed_names_are_one(tmp_path):
    composed, decomposed = "caf\u00e9.png", "cafe\u0301.png"
    save(tmp_path, [f"input/{composed}", f"target/{decomposed}"])
    ((first, second),) = recognise(tmp_path).groups
    assert (first.name, second.name) == (composed, decomposed)
    save(tmp_path, [f"target/{composed}"])
    with pytest.raises(InputError, match="two files for one image"):
        recognise(tmp_path)


@pytest.mark.parametrize("prefix", ["", "input/", "GOPR0384_11_00/blur/"])
def test_two_files_for_one_image_are_both_named(tmp_path, prefix):
    save(tmp_path, [f"{prefix}a.png", f"{prefix}b.png"])
    if prefix:
        target = prefix.replace("input", "target").replace("blur", "sharp")
        save(tmp_path, [f"{target}a.png", f"{target}b.png"])
    assert len(recognise(tmp_path).groups) == 2
    save(tmp_path, [f"{prefix}a.jpg"])
    with pytest.raises(InputError, match=r"a\.jpg and a\.png"):
        recognise(tmp_path)


def test_gopro_with_the_gamma_curve_by_choice(tmp_path):
    folder, files, _ = LAYOUTS["GoPro"]
    save(tmp_path / folder, files)
    (plain,) = find_groups(tmp_path, "deblur")
    lines = []
    (gamma,) = find_groups(tmp_path, "deblur", report=lines.append, blur="blur_gamma")
    assert (plain[0].parent.name, gamma[0].parent.name) == ("blur", "blur_gamma")
    assert plain[1] == gamma[1]
    assert "GoPro blur_gamma" in lines[0]
    one = tmp_path / folder / "GOPR0384_11_00"
    assert names(recognise(one, blur="blur_gamma")) == [
        ("blur_gamma/000001.png", "sharp/000001.png")
    ]
    save(tmp_path / "other", ["input/1.png", "target/1.png"])
    with pytest.raises(InputError, match="no folders blur_gamma"):
        recognise(tmp_path / "other", blur="blur_gamma")
    with pytest.raises(InputError, match="got split test and blur gamma"):
        recognise(tmp_path, blur="gamma")


def test_a_data_set_of_another_task_is_refused(tmp_path):
    title = {"denoise": "denoising", "derain": "deraining", "deblur": "deblurring"}
    for number, (folder, files, (name, own, _)) in enumerate(LAYOUTS.values()):
        save(tmp_path / str(number) / folder, files)
        for task in title:
            if own in (None, task):
                assert recognise(tmp_path / str(number), task=task).name == name
                continue
            with pytest.raises(InputError) as caught:
                find_groups(tmp_path / str(number), task)
            assert f"for {title[own]}, not for {title[task]}; use --task {own}" in str(caught.value)


def test_a_set_of_ones_own_below_a_known_name_is_not_that_set(tmp_path):
    save(tmp_path, ["GoPro/experiments/mine/input/1.png", "GoPro/experiments/mine/target/1.png"])
    assert recognise(tmp_path / "GoPro/experiments/mine", task="derain").name == "pairs"


def test_a_tree_of_several_sets_is_read_by_split_and_task(tmp_path):
    for place in ("train/GoPro", "train/SIDD", "test/Rain100H", "test/Rain100L", "val/GoPro"):
        save(tmp_path / "Datasets" / place, ["input_crops/1.png", "target_crops/1.png"])
    assert recognise(tmp_path, "train", "deblur").folder == tmp_path / "Datasets/train/GoPro"
    assert recognise(tmp_path, "train", "denoise").folder == tmp_path / "Datasets/train/SIDD"
    for split, task in (("train", "derain"), ("test", "derain"), ("train", None)):
        with pytest.raises(InputError, match="several data sets; give one of them"):
            recognise(tmp_path, split, task)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train/input/{}", "test/input/{}"),
        ("Training/input/{}", "Validation/input/{}"),
        ("input/train/{}", "input/test/{}"),
        ("train_input/{}", "val_input/{}"),
        ("set_train/input/{}", "set_test/input/{}"),
    ],
)
def test_train_is_trained_on_and_test_is_measured(tmp_path, train, test):
    for place in (train, test):
        for number in range(3):
            file = place.format(f"{number}.png")
            save(tmp_path, [file, file.replace("input", "target")])
    for split, place in (("train", train), ("test", test)):
        groups = recognise(tmp_path, split).groups
        assert [group[0] for group in groups] == [
            tmp_path / place.format(f"{number}.png") for number in range(3)
        ]


def test_the_only_split_is_used_and_the_line_says_so(tmp_path):
    save(tmp_path / "train", ["input/1.png", "target/1.png"])
    assert str(recognise(tmp_path, "test")).endswith("(there is no test/ beside it)")
    assert "no test/" not in str(recognise(tmp_path, "train"))


def test_inputs_alone_are_not_taken_for_clean_photographs(tmp_path):
    save(tmp_path, ["Rainy/1.png", "GT/1.png", "photos/1.png"])
    with pytest.raises(InputError, match=r"targets are in GT/ beside it; give the folder of both"):
        recognise(tmp_path / "Rainy")
    assert recognise(tmp_path / "GT").kind == "clean"
    assert recognise(tmp_path / "photos").kind == "clean"


@pytest.mark.parametrize("folder", ["input", "target", "blurry", "noisy_images", "GT"])
def test_half_a_pair_of_folders_says_what_is_missing(tmp_path, folder):
    save(tmp_path, [f"{folder}/a.png", f"{folder}/b.png", "crisp/a.png"])
    with pytest.raises(MissingFileError, match=rf"{folder}: 2 images without.*crisp/ \(1 images"):
        recognise(tmp_path)


def test_what_is_found_and_what_to_rename_is_said(tmp_path):
    save(tmp_path, ["degradiert/1.png", "degradiert/2.png", "sauber/1.png"])
    with pytest.raises(InputError) as caught:
        recognise(tmp_path)
    for part in ("degradiert (2 images)", "sauber (1 images)", "input/", "target/", "rename"):
        assert part in str(caught.value)


def test_two_folders_of_one_side_are_named(tmp_path):
    save(tmp_path, ["input/1.png", "noisy/1.png", "target/1.png"])
    with pytest.raises(InputError, match="several folders of inputs: input, noisy"):
        recognise(tmp_path)


def test_the_views_of_a_dual_pixel_camera_alone_are_refused(tmp_path):
    save(tmp_path, ["inputL/1.png", "inputR/1.png", "target/1.png"])
    with pytest.raises(InputError, match="left and right views"):
        recognise(tmp_path)


def test_pairs_of_other_names_are_never_made_in_order(tmp_path):
    save(tmp_path, ["source/1.png", "source/2.png", "target/3.png", "target/4.png"])
    with pytest.raises(InputError, match="2 images have no partner"):
        recognise(tmp_path)


def test_one_folder_of_pairs_with_one_alone(tmp_path):
    save(tmp_path, ["1_in.png", "1_gt.png", "2_in.png", "logo.png"])
    with pytest.raises(InputError, match=r"1_in\.png and 1_gt\.png, but 2 images .*2_in, logo"):
        recognise(tmp_path)
    save(tmp_path / "other", ["1_in.png", "1_input.png", "1_gt.png"])
    with pytest.raises(InputError, match="are the same side of one pair"):
        recognise(tmp_path / "other")


def test_images_beside_a_data_set(tmp_path):
    save(tmp_path, ["teaser.png", "set/blur/1.png", "set/sharp/1.png"])
    with pytest.raises(InputError, match=r"holds 1 images and, in folders, .*set: 1 pairs"):
        recognise(tmp_path)
    save(tmp_path / "photos", ["a.png", "b.png", "small/a.png"])
    assert str(recognise(tmp_path / "photos")).endswith("(1 more in folders below it are not used)")


def test_folders_that_are_linked_are_followed(tmp_path):
    save(tmp_path / "disk", ["input/1.png", "target/1.png"])
    (tmp_path / "Datasets").mkdir()
    (tmp_path / "Datasets/mine").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert len(recognise(tmp_path / "Datasets").groups) == 1


def test_nothing_is_decoded(tmp_path):
    for side in ("input", "target"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "a.png").write_bytes(b"no image")
    assert len(recognise(tmp_path).groups) == 1


def test_the_cases_are_recognised(shared_folder):
    cases = shared_folder / "cases/datasets"
    for folder, split, task, place in (
        ("uformer_SIDD", "train", "denoise", "train"),
        ("uformer_SIDD", "test", "denoise", "val"),
        ("Restormer_Datasets", "train", "deblur", "train/GoPro"),
        ("Restormer_Datasets/test/Rain100H", "test", "derain", "."),
        ("blursharp", "train", "deblur", "."),
        ("mac_gopro", "test", "deblur", "GOPRO_Large/test"),
        ("train_and_test", "train", "denoise", "train"),
        ("train_and_test", "test", "denoise", "test"),
    ):
        data = recognise(cases / folder, split, task)
        assert data.folder == cases / folder / place
        assert data.kind == "pairs"
    with pytest.raises(InputError, match=r"a\.jpg and a\.png"):
        recognise(cases / "collide")


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
        ("test/reds_blur", "REDS", "pairs", 40),
        ("test/polyu_noise", "PolyU", "pairs", None),
        ("train/clean", "clean photographs", "clean", 892),
        ("train/nturain", "NTURain", "pairs", 21),
    ):
        found = recognise(data / folder)
        assert (found.name, found.kind) == (name, kind)
        assert count in (None, len(found.groups))
        for source in found.groups[0]:
            assert load_image(source).shape[2] == 3
