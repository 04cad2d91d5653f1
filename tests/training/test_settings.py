import argparse
import subprocess
import sys

import pytest

from keras_skd import train
from keras_skd.distillation import METHODS, SKDConfig
from keras_skd.errors import InputError
from keras_skd.training import TrainingConfig
from keras_skd.training.settings import add_arguments, config_of

NOT_A_NUMBER = float("nan")


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return vars(parser.parse_args(["--run", "run", *arguments]))


def test_epochs_are_whole_and_hold_at_least_the_steps():
    for steps, per_epoch in ((1, 250), (250, 250), (251, 250), (600, 100), (7, 3)):
        config = TrainingConfig("run", steps=steps, steps_per_epoch=per_epoch)
        assert config.epoch_steps <= per_epoch
        assert steps <= config.total_steps < steps + config.epochs
        assert config.total_steps == config.epochs * config.epoch_steps


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--learning-rate -1", "--learning-rate must be a number above 0"),
        ("--learning-rate 0", "--learning-rate must be a number above 0"),
        ("--learning-rate nan", "--learning-rate must be a number above 0"),
        ("--learning-rate inf", "--learning-rate must be a number above 0"),
        ("--weight-decay -0.1", "--weight-decay must be 0 or above"),
        ("--weight-decay nan", "--weight-decay must be 0 or above"),
        ("--ema 1", "--ema must be within 0"),
        ("--ema nan", "--ema must be within 0"),
        ("--temperature 0", "--temperature must be a number above 0"),
        ("--temperature nan", "--temperature must be a number above 0"),
        ("--bandwidth 0", "--bandwidth must be a number above 0"),
        ("--bandwidth -1", "--bandwidth must be a number above 0"),
        ("--repulsion 2", "--repulsion must be within 0 and 1"),
        ("--repulsion nan", "--repulsion must be within 0 and 1"),
        ("--alpha1 -1", "--alpha1 is a weight, 0 or above"),
        ("--alpha3 inf", "--alpha3 is a weight, 0 or above"),
        ("--method kl --kl-temperature 0", "--kl-temperature must be a number above 0"),
        ("--warmup-steps -5", "--warmup-steps must be at least 0"),
        ("--warmup-steps 300 --steps 200", "--warmup-steps 300 is more than the 200 steps"),
        ("--accumulation 0", "--accumulation must be at least 1"),
        ("--accumulation 300 --steps 200", "--accumulation 300 is more than the 200 steps"),
        ("--steps-per-execution 4 --steps 250", "--steps-per-execution 4 does not divide the 250"),
        ("--steps -1", "--steps must be at least 1"),
        ("--batch-size 0", "--batch-size must be at least 1"),
        ("--steps-per-epoch 0", "--steps-per-epoch must be at least 1"),
        ("--patch-size 20", "--patch-size must be a multiple of 8"),
        ("--patch-size 8", "--patch-size must be at least 16"),
        ("--seed -1", "--seed must be at least 0"),
        ("--seed 4294967296", "--seed must be at most 4294967295"),
        ("--sigma loud", "--sigma must be a level"),
        ("--sigma 300", "--sigma must be a level or a range within"),
        # What does nothing.
        ("--method output --alpha2 0.1", "--alpha2 does nothing with --method output; leave it"),
        ("--method output --alpha2 0.02", "--alpha2 does nothing"),  # the default, asked for
        ("--method none --output-weight 2", "--output-weight does nothing with --method none"),
        ("--method skd_without_kernel --bandwidth 2", "--bandwidth does nothing"),
        ("--method skd_without_contrastive --repulsion 1", "--repulsion does nothing"),
        ("--method feature --temperature 1", "--temperature does nothing"),
        ("--kl-weight 2", "--kl-weight does nothing with --method skd; .* choose among kl"),
        ("--method none --teacher t.keras", "--teacher does nothing with --method none"),
        ("--noise camera --sigma 25", "--sigma is the level of Gaussian noise"),
        ("--task derain --sigma 25", "--sigma belongs to --task denoise"),
        ("--task deblur --noise camera", "--noise belongs to --task denoise"),
    ],
)
def test_what_is_out_of_range_or_does_nothing_is_an_error(arguments, message):
    with pytest.raises(InputError, match=message):
        config_of(parsed(*arguments.split()))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ("--method none", {"method": "none"}),
        ("--warmup-steps 0 --accumulation 4", {"warmup_steps": 0, "accumulation": 4}),
        ("--noise camera", {"noise": "camera"}),
        ("--method skd_without_spatial --temperature 1", {"method": "skd_without_spatial"}),
        ("--jit-compile --steps-per-execution 5", {"jit_compile": True}),
    ],
)
def test_the_rest_are_the_settings(arguments, expected):
    config = config_of(parsed(*arguments.split()))
    assert {name: getattr(config, name) for name in expected} == expected
    config.check_used()


def test_settings_that_do_nothing_are_found_from_python_too():
    config = TrainingConfig("run", method="output", distillation=SKDConfig(alpha2=0.5))
    with pytest.raises(InputError, match="--alpha2 does nothing with --method output"):
        config.check_used()
    with pytest.raises(InputError, match="stages does nothing with --method kl"):
        TrainingConfig("run", method="kl", distillation=SKDConfig(stages=("a",))).check_used()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 2.5}, "--steps must be a whole number; got 2.5"),
        ({"steps": True}, "--steps must be a whole number"),
        ({"learning_rate": "fast"}, "--learning-rate must be a number; got 'fast'"),
        ({"method": "magic"}, "--method must be one of skd, none"),
        ({"precision": "float8"}, "--precision must be one of float32"),
        ({"strategy": "magic"}, "--strategy must be one of none"),
        ({"task": "magic"}, "--task must be one of denoise"),
        ({"distillation": {"alpha1": 1.0}}, r"distillation must be a keras_skd\.SKDConfig"),
    ],
)
def test_wrong_kinds_and_names_are_errors_from_python(settings, message):
    with pytest.raises(InputError, match=message):
        TrainingConfig("run", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha1": NOT_A_NUMBER}, "--alpha1 is a weight"),
        ({"temperature": "hot"}, "--temperature must be a number; got 'hot'"),
        ({"stages": "latent"}, "stages must be a tuple of names; got 'latent'"),
        ({"contrastive_stages": ()}, "contrastive_stages must name at least one"),
        ({"contrastive_positives": ("noise",)}, "contrastive_positives must be of clean, teacher"),
        ({"contrastive_positives": None}, "contrastive_positives must be of"),
    ],
)
def test_the_losses_settings_check_themselves(settings, message):
    with pytest.raises(InputError, match=message):
        SKDConfig(**settings)


def test_the_losses_settings_survive_json():
    config = SKDConfig(stages=("a", ("b", "c")))
    assert SKDConfig(stages=["a", ["b", "c"]]) == config
    assert hash(config) == hash(SKDConfig(stages=["a", ["b", "c"]]))


@pytest.mark.parametrize("method", METHODS)
def test_a_method_reads_the_settings_that_it_says_and_no_others(method):
    """So that none is refused that makes a difference, and none is taken that does not."""

    class Recorder:
        def __init__(self):
            self.read = set()

        def __getattr__(self, name):
            self.read.add(name)
            return getattr(SKDConfig(), name)

    import numpy as np

    from keras_skd.distillation.methods import Step

    random = np.random.default_rng(0)
    image = random.uniform(size=(1, 4, 4, 3)).astype("float32")
    features = random.normal(size=(1, 4, 4, 2)).astype("float32")
    step = Step(image, image * 0.9, image * 0.8, [(features, features + 1)], [image], lambda x: [x])
    recorder = Recorder()
    for term in METHODS[method].terms.values():
        term.value(step, recorder)
        recorder.read.add(term.weight)
    # Read when the models are matched, before any step.
    chosen = set(METHODS[method].settings) - {"stages", "contrastive_stages"}
    assert recorder.read == chosen


def test_one_run_of_several_keeps_what_its_method_uses():
    given = parsed("--alpha2", "0.5", "--output-weight", "2", "--teacher", "t.keras")
    config = config_of(given, ("none", "output", "skd"))
    assert config.method == "output"
    runs = {method: config.for_run(method=method) for method in ("none", "output", "skd")}
    for run in runs.values():
        run.check_used()
    assert runs["none"].distillation == SKDConfig()
    assert runs["none"].teacher is None
    assert runs["output"].distillation == SKDConfig(output_weight=2.0)
    assert runs["skd"].distillation == SKDConfig(alpha2=0.5)
    with pytest.raises(InputError, match="--alpha2 does nothing with --method none, output"):
        config_of(given, ("none", "output"))


def test_resolved_settings_leave_nothing_to_a_default():
    settings = TrainingConfig("run", steps=100, method="output").resolved()
    assert (settings["noise"], settings["sigma"]) == ("gaussian", "25")
    assert (settings["teacher"], settings["warmup_steps"]) == ("restormer_denoise", 50)
    assert settings["distillation"] == {"output_weight": 1.0}
    settings = TrainingConfig("run", task="derain", method="none").resolved()
    assert (settings["noise"], settings["sigma"], settings["teacher"]) == (None, None, None)
    assert (settings["warmup_steps"], settings["distillation"]) == (200, {})


def test_help_states_every_default_and_unit(capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(["--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for said in (
        *("restormer_denoise", "restormer_tiny", "20000", "0.001", "8-bit units"),
        *("(default: gaussian)", "(default: 25)", "(default: 200", "(default: 0.02)", "in pixels"),
    ):
        assert said in text
    flags = set(parsed("--data", "d")) | {"learning_rate", "alpha2", "seed"}
    assert all(f"--{name.replace('_', '-')}" in text for name in flags)


def test_help_and_a_wrong_setting_load_no_tensorflow():
    code = """
import sys
from keras_skd import train
try:
    train.main(sys.argv[1:])
finally:
    assert "tensorflow" not in sys.modules
"""
    for arguments, status in ((["--help"], 0), (["--run", "r", "--temperature", "0"], 2)):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        assert len(done.stderr.splitlines()) == (1 if status else 0), done.stderr
