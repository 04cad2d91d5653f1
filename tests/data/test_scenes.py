"""Images of one scene stay on one side of the split."""

import numpy as np
import pytest

from keras_skd.data import MatImage
from keras_skd.data.datasets import recognise
from keras_skd.data.scenes import held_out, same_scenes, scene_of, spread
from keras_skd.errors import InputError


def write(folder, names, contents=None):
    """Files whose contents differ, unless ``contents`` gives some the same; none is an image."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((contents or {}).get(name, f"content {number} of {name}").encode())


def write_pairs(folder, pairs):
    write(folder, [name for pair in pairs for name in pair])


def sidd(instance, scene, shot):
    place = f"Data/{instance:04d}_{scene:03d}_S6_00100_00060_3200_L/{instance:04d}"
    return f"{place}_NOISY_SRGB_{shot}.PNG", f"{place}_GT_SRGB_{shot}.PNG"


def polyu(camera, scene, crop):
    name = f"{camera}_{scene}_{crop}"
    return f"{name}_real.JPG", f"{name}_mean.JPG"


# Pairs of a data set, and the scene of a pair by its two names.
SETS = {
    "Rain1400": (
        [
            (f"rainy_image/{i}_{k}.jpg", f"ground_truth/{i}.jpg")
            for i in range(20)
            for k in range(5)
        ],
        lambda pair: pair[1],
    ),
    "renderings, Restormer's": (
        [(f"input/{i}_{k}.png", f"target/{i}_{k}.png") for i in range(20) for k in range(5)],
        lambda pair: pair[0].split("_")[0],
    ),
    "GoPro": (
        [
            (f"GOPR03{i}_11_0{i % 2}/blur/{k:06d}.png", f"GOPR03{i}_11_0{i % 2}/sharp/{k:06d}.png")
            for i in range(72, 80)
            for k in range(9)
        ],
        lambda pair: pair[0].split("/")[0],
    ),
    "GoPro, crops": (
        [
            tuple(f"{side}_crops/GOPR03{i}_07_00-0000{k}-3.png" for side in ("input", "target"))
            for i in range(72, 80)
            for k in range(10, 19)
        ],
        lambda pair: pair[0].split("/")[1][:8],
    ),
    "REDS": (
        [
            (f"train_blur/{i:03d}/{k:08d}.png", f"train_sharp/{i:03d}/{k:08d}.png")
            for i in range(6)
            for k in range(10)
        ],
        lambda pair: pair[0].split("/")[1],
    ),
    "REDS, flat": (
        [
            (f"input/{i:03d}_{k:08d}.png", f"target/{i:03d}_{k:08d}.png")
            for i in range(6)
            for k in range(10)
        ],
        lambda pair: pair[0].split("_")[0],
    ),
    "RealBlur": (
        [
            (f"scene{i:03d}/blur/blur_{k}.png", f"scene{i:03d}/gt/gt_{k}.png")
            for i in range(10)
            for k in range(8)
        ],
        lambda pair: pair[0].split("/")[0],
    ),
    "HIDE": (
        [
            (f"train/{k}fromGOPR09{i}.MP4.png", f"GT/{k}fromGOPR09{i}.MP4.png")
            for i in range(50, 58)
            for k in range(7)
        ],
        lambda pair: pair[0].split("from")[1],
    ),
    "NTURain": (
        [
            (f"NTURain/{v}_Rain/{k:05d}.jpg", f"NTURain/{v}_GT/{k:05d}.jpg")
            for v in ("a1", "a2", "b1", "b2")
            for k in range(12)
        ],
        lambda pair: pair[0].split("_")[0],
    ),
    "SIDD": (
        [sidd(n + 1, n % 10 + 1, shot) for n in range(40) for shot in ("010", "011")],
        lambda pair: pair[0].split("_")[1],
    ),
    "SIDD, crops": (
        [
            (
                f"input_crops/{n:04d}_NOISY_SRGB_{shot}-{k}.png",
                f"target_crops/{n:04d}_GT_SRGB_{shot}-{k}.png",
            )
            for n in range(20)
            for shot in ("010", "011")
            for k in range(3)
        ],
        lambda pair: pair[0].split("/")[1][:4],
    ),
    "PolyU": (
        [
            polyu(camera, scene, crop)
            for camera in ("Canon5D2_5_160_3200", "NikonD800_4-5_160_1800", "Sony_4_200_3200")
            for scene in ("chair", "plant", "toy", "desk")
            for crop in range(1, 6)
        ],
        lambda pair: pair[0].split("_")[4],
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_no_scene_is_on_both_sides(tmp_path, name):
    pairs, scene_by_name = SETS[name]
    write_pairs(tmp_path, pairs)
    groups = recognise(tmp_path, "train").groups
    assert len(groups) == len(pairs)
    lines = []
    training, validation = held_out(groups, report=lines.append)
    assert sorted(training + validation) == sorted(groups)
    scenes = [
        {scene_by_name([p.relative_to(tmp_path).as_posix() for p in group]) for group in part}
        for part in (training, validation)
    ]
    assert not scenes[0] & scenes[1]
    assert scenes[1]
    whole = len(scenes[0] | scenes[1])
    assert lines == [
        f"held out for validation: {len(scenes[1])} of {whole} scenes, {len(validation)} of "
        f"{len(groups)} images"
    ]
    # No more is held out than one scene beyond the twentieth part.
    largest = max(same_scenes(groups).count(scene) for scene in same_scenes(groups))
    assert len(validation) <= len(groups) / 20 + largest
    # Every twentieth image, as it was before, does leak: the test can fail.
    assert {
        scene_by_name([p.relative_to(tmp_path).as_posix() for p in g]) for g in groups[::20]
    } & {
        scene_by_name([p.relative_to(tmp_path).as_posix() for p in g])
        for index, g in enumerate(groups)
        if index % 20
    }


def test_targets_of_equal_content_are_one_scene(tmp_path):
    # Rain13K: fourteen renderings of a clean image, whose copies have names of their own.
    names = [f"{i}.jpg" for i in range(1, 141)]
    clean = {f"target/{name}": f"clean {index // 14}" for index, name in enumerate(names)}
    write(tmp_path, [f"input/{name}" for name in names])
    write(tmp_path, list(clean), clean)
    groups = recognise(tmp_path, "train").groups
    assert len(set(same_scenes(groups))) == 10
    training, validation = held_out(groups)
    contents = [{group[1].read_bytes() for group in part} for part in (training, validation)]
    assert not contents[0] & contents[1]
    assert len(validation) == 14


def test_content_is_compared_as_a_whole(tmp_path):
    # Equal sizes, beginnings and ends: only the middle tells.
    for number in range(3):
        middle = b"ab"[min(number, 1) : min(number, 1) + 1]
        (tmp_path / f"{number}.png").write_bytes(bytes(200_000) + middle + bytes(200_000))
    scenes = same_scenes([(tmp_path / f"{number}.png",) for number in range(3)])
    assert scenes == [0, 1, 1]


def test_photographs_of_their_own_are_scenes_of_their_own(tmp_path):
    for names in (
        [f"bsds_{i}.jpg" for i in range(100, 200)],
        [f"kodim{i:02d}.png" for i in range(1, 25)],
        [f"div2k_{i:04d}.png" for i in range(60)],
        [f"urban100_{i:03d}.png" for i in range(60)],
        [f"IMG_20190{i % 9 + 1}12_1200{i:02d}.jpg" for i in range(60)],
        [f"2019_{i:03d}.jpg" for i in range(40)],
    ):
        groups = [(tmp_path / names[0].split(".")[0] / name,) for name in names]
        write(groups[0][0].parent, names)
        assert len(set(same_scenes(groups))) == len(groups), names[0]
        training, validation = held_out(groups)
        assert len(validation) == max(1, round(len(groups) / 20))
        assert len(training) + len(validation) == len(groups)


def test_the_split_is_the_same_in_another_place(tmp_path):
    pairs, _ = SETS["PolyU"]
    parts = []
    for place in ("one", "another/place"):
        write_pairs(tmp_path / place, pairs)
        groups = recognise(tmp_path / place, "train").groups
        parts.append([group[0].name for group in held_out(groups)[1]])
    assert parts[0] == parts[1]


def test_the_share_is_about_what_is_asked(tmp_path):
    write(tmp_path, [f"photo{i}.png" for i in range(100)])
    groups = recognise(tmp_path).groups
    for share in (2, 5, 20, 50):
        assert len(held_out(groups, share)[1]) == 100 // share
    assert len(held_out(groups[:3])[1]) == 1


@pytest.mark.parametrize(
    "names",
    [
        ["a.png"],
        [f"000_{k:08d}.png" for k in range(5)],
        [f"video_1/{k}.png" for k in range(5)],
        [f"000/{k:08d}.png" for k in range(5)],
        [f"nturain/{k:05d}.png" for k in range(5)],
    ],
)
def test_one_scene_cannot_be_divided(tmp_path, names):
    write(tmp_path, [f"input/{name}" for name in names] + [f"target/{name}" for name in names])
    write(tmp_path / "nturain", [])
    with pytest.raises(InputError, match=r"(one image|of one scene).*--validation"):
        held_out(recognise(tmp_path, "train").groups)


def test_two_scenes_give_one_each(tmp_path):
    write_pairs(
        tmp_path,
        [
            (f"input/{i:03d}_{k}.png", f"target/{i:03d}_{k}.png")
            for i in range(2)
            for k in range(50)
        ],
    )
    training, validation = held_out(recognise(tmp_path).groups)
    assert len(training) == len(validation) == 50


def test_scene_of_a_group_alone(tmp_path):
    block = MatImage(tmp_path / "x.mat", "x", (2, 6), "0003_07")
    image = np.zeros((4, 4, 3), np.uint8)
    assert scene_of((block, block)) == "0003"
    assert scene_of((image,)) == scene_of((image,)) != scene_of((image.copy(),))
    assert scene_of((tmp_path / "in/901_14.jpg", tmp_path / "gt/901.jpg")) == "901"
    assert scene_of((tmp_path / "GOPR0384_11_00/sharp/1.png",)) == "gopr0384_11_00"


def test_blocks_of_a_mat_file_are_divided_by_scene(tmp_path):
    groups = [
        (MatImage(tmp_path / "x.mat", "x", (scene, block), f"{scene + 1:04d}_{block + 1:02d}"),)
        for scene in range(40)
        for block in range(4)
    ]
    training, validation = held_out(groups)
    assert len(validation) == 8
    assert not {g[0].index[0] for g in training} & {g[0].index[0] for g in validation}


def test_few_of_many_come_from_everywhere():
    assert spread(list(range(100)), 4) == [0, 25, 50, 75]
    assert spread(list(range(10)), 3) == [0, 3, 6]
    assert spread([1, 2], 32) == [1, 2]
    assert spread([], 32) == []
