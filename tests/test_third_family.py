"""A third family is added by its own files alone: this module is all there is of one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_skd.distillation import Distiller
from keras_skd.export.flatbuffer import read_graph
from keras_skd.export.gpu.rules import check_rules
from keras_skd.export.schemes import SCHEMES, Source, float16, mixed_int8, static_int8
from keras_skd.export.verification import residual_psnr
from keras_skd.layers import ChannelNormalization, CropLike, PadToMultiple, Unpool
from keras_skd.layers.costs import sum_of_macs
from keras_skd.layers.export_form import is_export_shape, split_channels
from keras_skd.models import RestorationModel, Restormer, load_model, with_image_size
from keras_skd.profile import main as profile_command
from keras_skd.profile import profile
from keras_skd.runners import KerasRunner, TFLiteRunner
from tests import families


@keras.saving.register_keras_serializable("third_family")
class GatedBlock(keras.layers.Layer):
    """``x + strength * W_out (a * b)``, ``a`` and ``b`` the halves of ``D W_in norm(x)``.

    After Chen et al., "Simple Baselines for Image Restoration", ECCV 2022.
    """

    def __init__(self, for_integers=False, **kwargs):
        super().__init__(**kwargs)
        self.for_integers = for_integers  # only for the norm, whose export form knows of it
        policy = self.dtype_policy
        self.norm = ChannelNormalization(for_integers=for_integers, name="norm", dtype=policy)
        self.depthwise = keras.layers.DepthwiseConv2D(
            3, padding="same", name="depthwise", dtype=policy
        )

    def build(self, input_shape):
        channels = input_shape[-1]
        self.export_form = is_export_shape(input_shape)
        options = {"kernel_size": 1, "dtype": self.dtype_policy}
        self.project_in = keras.layers.Conv2D(2 * channels, name="project_in", **options)
        self.project_out = keras.layers.Conv2D(channels, name="project_out", **options)
        self.norm.build(input_shape)
        self.project_in.build(input_shape)
        self.depthwise.build((*input_shape[:-1], 2 * channels))
        self.project_out.build(input_shape)
        self.strength = self.add_weight(name="strength", shape=(channels,), initializer="ones")

    def call(self, x):
        wide = self.depthwise(self.project_in(self.norm(x)))
        gate, value = split_channels(wide, 2, self.export_form)
        return x + self.project_out(gate * value) * self.strength

    def macs(self, input_shape, output_shape):
        parts = (self.project_in, self.depthwise, self.project_out)
        return sum_of_macs(parts, input_shape, output_shape)

    @property
    def working_channels(self):
        return 2 * self.depthwise.kernel.shape[2]

    def get_config(self):
        return {**super().get_config(), "for_integers": self.for_integers}


@keras.saving.register_keras_serializable("third_family")
class PlainRestorer(RestorationModel):
    """Gated blocks at full and at half resolution; output is the image plus a residual."""

    size_multiple = 2
    block, crop = GatedBlock, CropLike  # replaced in the negative controls

    def __init__(self, width=8, blocks=1, image_size=None, for_integers=False, **kwargs):
        policy = kwargs.pop("dtype", None)

        def stage(x, name):
            for index in range(blocks):
                x = self.block(for_integers, name=f"{name}_{index}", dtype=policy)(x)
            taps[name] = x
            return x

        taps = {}
        batch_shape = (None, None, None) if image_size is None else (1, *image_size)
        image = keras.Input((*batch_shape[1:], 3), batch_shape[0], name="image")
        padded = PadToMultiple(self.size_multiple, name="pad", dtype="float32")(image)
        same = {"padding": "same", "dtype": policy}
        x = keras.layers.Conv2D(width, 3, name="first", **same)(padded)
        fine = stage(x, "encoder")
        x = keras.layers.Conv2D(2 * width, 2, 2, name="down", **same)(fine)
        x = stage(x, "middle")
        x = Unpool(width, name="up", dtype=policy)(x)
        x = keras.layers.Add(name="skip", dtype=policy)([x, fine])
        x = stage(x, "decoder")
        x = keras.layers.Conv2D(3, 3, name="last", **same)(x)
        x = keras.layers.Add(name="residual", dtype="float32")([x, padded])
        super().__init__(
            inputs=image, outputs=self.crop(name="crop", dtype="float32")(x, image), **kwargs
        )
        self.taps = taps
        self.width = width
        self.blocks = blocks
        self.image_size = None if image_size is None else tuple(image_size)
        self.for_integers = for_integers

    def get_config(self):
        return {
            "width": self.width,
            "blocks": self.blocks,
            "image_size": self.image_size,
            "for_integers": self.for_integers,
            "name": self.name,
        }


def plain_restorer(family=PlainRestorer, **options):
    keras.utils.set_random_seed(0)
    return family(**{"width": 4, "blocks": 2, **options})


def small_restormer():
    keras.utils.set_random_seed(1)
    return Restormer(dim=8, num_blocks=(1, 1, 0, 0), num_refinement_blocks=0, heads=(1, 1, 1, 1))


def test_it_is_a_family(tmp_path):
    families.check_family(plain_restorer, tmp_path)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [(plain_restorer, small_restormer), (small_restormer, plain_restorer)],
    ids=["student", "teacher"],
)
def test_it_trains(student, teacher):
    clean = np.random.default_rng(0).uniform(size=(2, 16, 24, 3)).astype("float32")
    degraded = clean + np.random.default_rng(1).normal(0, 0.1, clean.shape).astype("float32")
    student, teacher = student(), teacher()
    taught, before = teacher.get_weights(), student.get_weights()
    distiller = Distiller(student, teacher)
    (pair,) = distiller.stages  # the one resolution below the full one that both have
    assert "middle" in (pair.student_name, pair.teacher_name)
    distiller.compile(optimizer=keras.optimizers.Adam(1e-3))
    history = distiller.fit(tf.data.Dataset.from_tensors((degraded, clean)), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    for variable, old in zip(student.weights, before, strict=True):
        assert np.any(variable != old), variable.path
    for new, old in zip(teacher.get_weights(), taught, strict=True):
        np.testing.assert_array_equal(new, old)


def test_its_costs_are_those_by_hand(tmp_path, capsys):
    model = plain_restorer(blocks=1)
    result = profile(model, (15, 24))
    stages = {stage.name: stage for stage in result.stages}
    pixels = 16 * 24
    assert stages["encoder"].convolution_macs == pixels * (4 * 8 + 9 * 8 + 4 * 4)
    assert stages["middle"].convolution_macs == pixels // 4 * (8 * 16 + 9 * 16 + 8 * 8)
    assert stages["down"].convolution_macs == pixels // 4 * 4 * 4 * 8
    assert stages["up"].convolution_macs == pixels // 4 * 4 * 8 * 4
    assert result.attention_macs == 0
    assert result.parameters == model.count_params()
    # In the decoder's block: the image and its padded copy, its input and output, and what it
    # states.
    image = 15 * 24 * 3
    assert result.peak_activation_bytes == 4 * (image + pixels * (3 + 4 + 4 + 2 * 8))
    model.save(tmp_path / "plain.keras")
    assert profile_command([str(tmp_path / "plain.keras"), "--size", "15x24"]) == 0
    assert "middle" in capsys.readouterr().out


@pytest.fixture(scope="module")
def source():
    """A student of 64 x 64 whose residual is a tenth of the range, and images to calibrate on."""
    model = plain_restorer(width=16)
    images = np.random.default_rng(3).uniform(size=(4, 64, 64, 3)).astype("float32")
    last = model.get_layer("last")
    last.kernel.assign(last.kernel * (0.1 / np.abs(model(images) - images).max()))
    return Source(with_image_size(model, (64, 64)), images)


@pytest.mark.parametrize(
    ("scheme", "build"),
    [
        ("fp16", float16),
        ("int8", lambda source: mixed_int8(source, source.integer_operations())),
        ("static_wi8_ai8", lambda source: static_int8(source, "float32")),
    ],
    ids=["fp16", "int8", "static_wi8_ai8"],
)
def test_it_is_exported(source, scheme, build):
    content = build(source)
    violations = check_rules(read_graph(content))
    assert not [str(violation) for violation in violations if violation.fatal]
    runner = TFLiteRunner(content)
    reference = KerasRunner(source.model).batch(source.calibration)
    if scheme == "static_wi8_ai8":
        reference = reference.clip(0, 1)  # its output holds no more
    restored = np.stack([runner(image) for image in source.calibration])
    psnr = residual_psnr(restored, reference, source.calibration)
    assert psnr >= SCHEMES[scheme].least_residual_psnr


def test_integers_have_a_graph_of_their_own(source):
    assert source.integer.model.for_integers
    block = source.integer.model.get_layer("middle_0")
    assert block.norm.prescale == 1.0
    assert source.model.get_layer("middle_0").norm.prescale < 1.0


@keras.saving.register_keras_serializable("third_family")
class NotForPhones(PlainRestorer):
    """A family that cannot be exported and says so."""

    def export_obstacle(self, image_size):
        if image_size[0] * image_size[1] > 64 * 64:
            return "its graph holds no more than 64x64 pixels"
        return None


def test_a_family_says_itself_what_it_cannot_be_exported_for(tmp_path):
    model = plain_restorer(NotForPhones)
    assert with_image_size(model, (64, 64)).input_shape == (1, 64, 64, 3)
    message = r"NotForPhones\) cannot be exported for images of 64x128: its graph holds no more"
    with pytest.raises(ValueError, match=message):
        with_image_size(model, (64, 128))
    # To train, to save and to restore images of any size it serves all the same.
    model.save(tmp_path / "model.keras")
    assert with_image_size(load_model(tmp_path / "model.keras"), None).input_shape[1] is None


# --- negative controls of the checks ---


class DetachedBlock(GatedBlock):
    """Its weights do not learn."""

    def call(self, x):
        return x + keras.ops.stop_gradient(super().call(x) - x)


class LossyBlock(GatedBlock):
    """In half precision it is off by eight roundings."""

    def call(self, x):
        roundings = {"float32": 0, "bfloat16": 2**-5, "float16": 2**-8}
        return super().call(x) * (1 + roundings[self.compute_dtype])


class AnotherFunctionBlock(GatedBlock):
    """Its export form is not what was trained."""

    def call(self, x):
        return super().call(x) * (1.001 if self.export_form else 1)


@keras.saving.register_keras_serializable("third_family")
class ForgetfulBlock(GatedBlock):
    """Its own weight is not in the file."""

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


class Uncropped(CropLike):
    """What it states is right, what it does is not."""

    def call(self, x, like):
        return x


class MisstatedCrop(CropLike):
    """What it does is right, what it states is not."""

    def compute_output_shape(self, x_shape, like_shape):
        return x_shape


class ForgetsAnArgument(PlainRestorer):
    def get_config(self):
        return {name: value for name, value in super().get_config().items() if name != "blocks"}


class MisstatesItsMultiple(PlainRestorer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.size_multiple = 3


@keras.saving.register_keras_serializable("third_family")
class Forgetful(PlainRestorer):
    block = ForgetfulBlock


def variant(**parts):
    return lambda **options: plain_restorer(type("Variant", (PlainRestorer,), parts), **options)


@pytest.mark.parametrize(
    ("check", "make", "message"),
    [
        (
            "serialisation",
            lambda **options: plain_restorer(ForgetsAnArgument, **options),
            r"not in get_config: \['blocks'\]",
        ),
        (
            "serialisation",
            lambda **options: plain_restorer(Forgetful, **options),
            "Arrays are not equal",
        ),
        ("symbolic_call", variant(crop=MisstatedCrop), r"\(None, None, 34, 3\) =="),
        ("training_step", variant(block=DetachedBlock), "has no gradient"),
        ("bfloat16", variant(block=LossyBlock), "mixed_bfloat16: "),
        ("float16", variant(block=LossyBlock), "mixed_float16: "),
        ("sizes", variant(crop=Uncropped), r"\[2, 2, 2, 3\]\) == \(2, 1, 1, 3\)"),
        (
            "sizes",
            lambda **options: plain_restorer(MisstatesItsMultiple, **options),
            "Not equal to tolerance",
        ),
        ("fixed_size", variant(block=AnotherFunctionBlock), "Not equal to tolerance"),
    ],
    ids=[
        *("an argument is missing", "a weight is not saved", "a shape is misstated"),
        *("a weight does not learn", "lossy bfloat16", "lossy float16"),
        *("the size is not kept", "the multiple is misstated", "export is another function"),
    ],
)
def test_the_checks_notice(tmp_path, check, make, message):
    arguments = {
        "serialisation": (families.check_serialisation, tmp_path),
        "bfloat16": (families.check_mixed_precision, "mixed_bfloat16"),
        "float16": (families.check_mixed_precision, "mixed_float16"),
    }
    function, *more = arguments.get(check) or (getattr(families, f"check_{check}"),)
    with pytest.raises(AssertionError, match=message):
        function(make, *more)
