import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_skd import train
from keras_skd.distillation import Distiller
from keras_skd.errors import FailedCheckError, InputError
from keras_skd.export.conversion import convert
from keras_skd.export.verification import task_psnr
from keras_skd.models import Restormer, load_model, read_metadata, read_origin, save_model
from keras_skd.quantisation import SCHEMES, Simulation, simulation
from keras_skd.runners import KerasRunner
from keras_skd.tasks import Task
from tests.killing import train_and_kill
from tests.quantisation.conftest import lively, make_restormer, make_small, make_uformer


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("make", [make_restormer, make_uformer])
def test_a_simulation_computes_what_litert_does(make, scheme, tiles):
    """It checks so itself; and it is nearer to the file than the float student is."""
    simulated = Simulation(lively(make), scheme, tiles)
    file, ours = simulated.check["file"], simulated.check["simulation"]
    assert abs(file["task_psnr"] - ours["task_psnr"]) <= 0.05
    assert abs(file["residual_psnr"] - ours["residual_psnr"]) <= 2
    assert file["residual_psnr"] < 60  # there is something to simulate


@pytest.fixture(scope="module")
def simulated(tiles):
    return Simulation(lively(make_restormer), "static_wi8_ai8", tiles)


def test_a_wrong_scale_is_noticed(monkeypatch, tiles):
    right = simulation._Hooks._activation

    def wrong(self, tensor):
        quantization = self._tensors[tensor].quantization
        quantization.scale = [2.5 * quantization.scale[0]]
        return right(self, tensor)

    monkeypatch.setattr(simulation._Hooks, "_activation", wrong)
    with pytest.raises(FailedCheckError, match="what would be trained is not what is shipped"):
        Simulation(lively(make_restormer), "static_wi8_ai8", tiles)


def test_an_untrained_student_is_refused(tiles):
    keras.utils.set_random_seed(0)
    with pytest.raises(InputError, match="never trained; train it first"):
        Simulation(make_uformer(), "static_wi8_ai8", tiles)
    with pytest.raises(InputError, match=r"training simulates static_wi8_ai8.*got 'fp16'"):
        Simulation(make_restormer(), "fp16", tiles)


def test_batches_of_known_and_unknown_size_agree(simulated, tiles):
    images = tf.constant(tiles.degraded[:2])
    known = simulated(images, ["latent"])
    function = tf.function(
        lambda images: simulated(images, ["latent"]),
        input_signature=[tf.TensorSpec((None, 64, 64, 3))],
        autograph=False,
    )
    for one, other in zip(known, function(images), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert known[1].shape == (2, 8, 8, 64)
    with pytest.raises(InputError, match="of images of 64x64; these are of 32x32"):
        simulated(tf.zeros((1, 32, 32, 3)))


def test_a_distiller_trains_through_it_with_its_stages(simulated, tiles):
    student = simulated.student
    before = [np.array(weight) for weight in student.get_weights()]
    image = tiles.degraded[:1]
    in_float = student(image).numpy()
    keras.utils.set_random_seed(0)
    teacher = Restormer(dim=16, num_blocks=(0, 1, 0, 1), num_refinement_blocks=0)
    distiller = Distiller(student, teacher, "skd", simulation=simulated)
    np.testing.assert_allclose(distiller(image), simulated.batch(image), atol=1e-5)
    assert np.abs(distiller(image).numpy() - in_float).max() > 1e-4
    # The float path is untouched: the simulation has no part in the student.
    np.testing.assert_array_equal(student(image), in_float)
    distiller.compile(keras.optimizers.Adam(1e-4))
    pairs = tf.data.Dataset.from_tensors((tiles.degraded[:2], tiles.clean[:2])).repeat(3)
    history = distiller.fit(pairs, epochs=1, verbose=0).history
    assert {"kernel", "contrastive", "reconstruction"} <= history.keys()
    assert all(np.isfinite(values).all() for values in history.values())
    changed = [
        not np.array_equal(one, other)
        for one, other in zip(before, student.get_weights(), strict=True)
    ]
    assert np.mean(changed) > 0.95
    for variable, weight in zip(student.weights, before, strict=True):
        variable.assign(weight)


def test_a_distiller_refuses_the_simulation_of_another_student(simulated):
    with pytest.raises(InputError, match="of another student"):
        Distiller(lively(make_restormer), method="none", simulation=simulated)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "photos").mkdir()
    generator = np.random.default_rng(0)
    for index in range(3):
        coarse = Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8))
        coarse.resize((320, 320), Image.Resampling.BICUBIC).save(folder / "photos" / f"{index}.png")
    lively(make_small).save(folder / "student.keras")
    return folder


def arguments(folder, run, **options):
    options = {
        "quantise": "static_wi4_ai8",
        "student": folder / "student.keras",
        "data": folder / "photos",
        "method": "none",
        "steps": 6,
        "steps_per_epoch": 2,
        "batch_size": 1,
        "patch_size": 64,
        "warmup_steps": 0,
        "learning_rate": 1e-4,
        "run": run,
        **options,
    }
    return [
        str(word)
        for name, value in options.items()
        for word in (f"--{name.replace('_', '-')}", value)
    ]


def test_a_killed_run_ends_as_if_it_had_not_been(folder, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train.main(arguments(folder, whole))
    train_and_kill(arguments(folder, killed), killed)
    train.main(arguments(folder, killed))
    students = [load_model(run / "student.keras") for run in (whole, killed)]
    for one, other in zip(*(student.get_weights() for student in students), strict=True):
        np.testing.assert_array_equal(one, other)

    # An ordinary file, which knows the scheme and the float student that it came from.
    file = whole / "student.keras"
    assert read_metadata(file)["quantise"] == "static_wi4_ai8"
    came_from = load_model(folder / "student.keras").get_weights()
    for one, other in zip(read_origin(file), came_from, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)
    assert read_origin(folder / "student.keras") is None


def test_a_student_is_compared_with_the_one_it_came_from_for_its_scheme_alone(tmp_path, tiles):
    came_from, student = lively(make_small), lively(make_small)
    student.get_layer("output").kernel.assign_add(0.02 * tf.ones((3, 3, 16, 3)))
    known = {**Task.of("denoise").as_dict(), "quantise": "static_wi4_ai8"}
    save_model(student, tmp_path / "trained.keras", known, origin=came_from.get_weights())
    save_model(student, tmp_path / "float.keras", Task.of("denoise").as_dict())
    options = {"output": tmp_path, "tile": 64, "gpu": ["none"], "keep_failed": True}
    schemes = ["fp32", "static_wi4_ai8"]
    trained = convert(tmp_path / "trained.keras", schemes=schemes, **options)
    other = convert(tmp_path / "float.keras", schemes=schemes[1:], **options)
    standard = task_psnr(KerasRunner(came_from).batch(tiles.degraded), tiles.clean)
    change = {name: result.task_psnr_change for name, result in trained.results.items()}
    score = trained.results["static_wi4_ai8"].task_psnr
    assert change["static_wi4_ai8"] == pytest.approx(score - standard, abs=0.01)
    assert change["fp32"] == pytest.approx(0, abs=1e-3)
    assert abs(score - standard - (score - trained.keras_task_psnr)) > 0.05
    warning = "train --quantise static_wi4_ai8"
    assert not any(warning in line for line in trained.results["static_wi4_ai8"].warnings)
    untrained = other.results["static_wi4_ai8"]
    assert any(warning in line for line in untrained.warnings)
    assert untrained.task_psnr_change == pytest.approx(score - trained.keras_task_psnr, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantise": "fp16"}, "invalid choice: 'fp16'"),
        ({"precision": "mixed_bfloat16"}, "--quantise simulates integers in float32"),
        ({"patch_size": 32}, "64 to 512 pixels; got --patch-size 32"),
        ({"student": "restormer_tiny"}, "restormer_tiny is an architecture without trained"),
    ],
)
def test_what_cannot_be_trained_for_integers_is_refused(folder, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit, match="2"):
        train.main(arguments(folder, tmp_path / "run", **options))
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
