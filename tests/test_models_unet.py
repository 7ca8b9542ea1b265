"""U-Nets: shapes, sizes that are refused, parameters, gates, dropout, files."""

import keras
import numpy as np
import pytest
from draws import RNG
from helpers import run_python
from keras import ops

from ganlib.losses import BinaryFocal
from ganlib.metrics.segmentation import Dice, Jaccard
from ganlib.models.boundary import with_probabilities
from ganlib.models.unet import ARCHITECTURES, CheckSize, build_unet
from ganlib.models.unet_size import parameters

every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


def pictures(*shape):
    return RNG.uniform(0, 1, shape).astype("float32")


def run(model, x, **options):
    return ops.convert_to_numpy(model(x, **options))


def small(architecture="attention_resunet", **options):
    return build_unet(architecture, 4, **{"depth": 1, **options})


def inner(model, name):
    """The same weights up to one layer."""
    return keras.Model(model.input, model.get_layer(name).output)


# -- shapes and sizes ----------------------------------------------------------------------------


@pytest.mark.backend
@every_architecture
def test_a_logit_for_every_pixel(architecture):
    model = small(architecture, depth=2, channels=3)
    assert model.name == architecture
    assert model.input_shape == (None, None, None, 3)
    assert model.output_shape == (None, None, None, 1)
    for size in [(4, 4), (8, 20)]:
        logits = run(model, pictures(2, *size, 3))
        assert logits.shape == (2, *size, 1)
        assert np.isfinite(logits).all()
        assert len(np.unique(logits)) > 10


def test_logits_are_not_bounded():
    model = small("unet")
    model.get_layer("logits").bias.assign([30.0])
    images = pictures(1, 8, 8, 1)
    assert run(model, images).min() > 20
    probabilities = run(with_probabilities(model), images)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-run(model, images))), atol=1e-6)


@pytest.mark.backend
@pytest.mark.parametrize("size", [(10, 8), (8, 11), (2, 2)], ids=str)
def test_sizes_that_can_not_be_halved_are_refused(size):
    message = "must be multiples of 4.*Crop or pad.*Received: images of {}×{}".format(*size)
    model = small("unet", depth=2)
    with pytest.raises(ValueError, match=message):
        model(keras.Input((*size, 1)))
    with pytest.raises(ValueError, match=message):
        model(pictures(1, *size, 1))
    with pytest.raises(ValueError, match=message):
        model.predict(pictures(1, *size, 1), verbose=0)


@pytest.mark.backend
def test_pictures_of_many_sizes_through_predict():
    # TensorFlow gives up known sizes after two: the graph itself has to check the third.
    model = small("unet", depth=2)
    for size in [(8, 8), (12, 4), (4, 16)]:
        assert model.predict(pictures(1, *size, 1), verbose=0).shape == (1, *size, 1)
    with pytest.raises(Exception, match=r"(?s)must be multiples of 4.*Received: images of.*10"):
        model.predict(pictures(1, 10, 12, 1), verbose=0)


@pytest.mark.parametrize("depth", [1, 3])
def test_divisor_follows_the_depth(depth):
    model = build_unet("attention_unet", 2, depth=depth)
    side = 2**depth
    assert run(model, pictures(1, side, 3 * side, 1)).shape == (1, side, 3 * side, 1)
    with pytest.raises(ValueError, match=f"multiples of {side}: "):
        model(pictures(1, side, side + 1, 1))


# -- parameters and initial values ---------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes", [(4, 2, 1), (6, 1, 3), (2, 4, 2)], ids=lambda sizes: "{} {} {}".format(*sizes)
)
@every_architecture
def test_parameters_by_formula(architecture, sizes):
    filters, depth, channels = sizes
    model = build_unet(architecture, filters, depth=depth, channels=channels)
    assert parameters(architecture, filters, depth, channels) == model.count_params()


@pytest.mark.parametrize(
    ("architecture", "published", "in_block", "in_gate"),
    [
        ("unet", 31_402_501, 2, 0),
        ("attention_unet", 37_334_665, 2, 2),
        ("attention_resunet", 39_090_377, 3, 2),
    ],
)
def test_parameters_of_the_tutorial(architecture, published, in_block, in_gate):
    """Its summaries, for three channels, less the biases before batch normalisations and the last.

    Blocks make 64 + 128 + 256 + 512 + 1024 = 1984 channels on the way down and 960 on the way up,
    in as many normalised convolutions as given; so do gates, 960 channels.
    """
    biases = in_block * (1984 + 960) + in_gate * 960
    assert parameters(architecture, 64, 4, 3) == published - biases - 4


def test_full_size():
    counts = [parameters(architecture, 64, 4, 1) for architecture in ARCHITECTURES]
    assert counts == [31_395_457, 37_325_701, 39_078_341]
    assert all(f"{count:,}" in build_unet.__doc__ for count in counts)


def test_parameters_of_an_unknown_network():
    with pytest.raises(ValueError, match=r"`architecture` must be one of .*Received: 'resunet'"):
        parameters("resunet", 4, 2, 1)


@every_architecture
def test_seed_decides_the_weights(architecture):
    keras.utils.set_random_seed(1)
    first = small(architecture, seed=1).get_weights()
    keras.utils.set_random_seed(2)
    again, other = (small(architecture, seed=seed).get_weights() for seed in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    kernels = [(a, b) for a, b in zip(first, other, strict=True) if a.ndim == 4]
    assert all(not np.array_equal(a, b) for a, b in kernels)


def test_dropout_leaves_the_initial_values_alone():
    plain, dropping = (small(dropout=rate) for rate in (0.0, 0.5))
    for layer in plain.layers:
        again = dropping.get_layer(layer.name).get_weights()
        assert all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), again, strict=True))


def test_no_two_kernels_start_alike():
    kernels = [w for w in small().get_weights() if w.ndim == 4]
    assert len({kernel.ravel()[:4].tobytes() for kernel in kernels}) == len(kernels)


@pytest.mark.backend
@every_architecture
def test_every_weight_learns(architecture):
    model = small(architecture)
    model.compile(keras.optimizers.SGD(1.0), "mse", run_eagerly=True)
    before = [ops.convert_to_numpy(w).copy() for w in model.trainable_variables]
    model.train_on_batch(pictures(2, 8, 8, 1), pictures(2, 8, 8, 1))
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.abs(ops.convert_to_numpy(variable) - old).max() > 0, variable.path


# -- what the parts do ---------------------------------------------------------------------------


def test_names_of_the_layers():
    names = {layer.name for layer in small("unet").layers}
    assert {"images", "down0_conv1", "down0_pool", "bottom_norm2", "up0_join", "logits"} <= names
    assert not [name for name in names if name.startswith("gate") or "shortcut" in name]
    names = {layer.name for layer in small().layers}
    assert {"gate0_psi", "gate0_signal_norm", "down0_shortcut_conv", "up0_sum"} <= names


@pytest.mark.backend
@pytest.mark.parametrize("architecture", ARCHITECTURES[1:])
def test_gates_weigh_the_skip(architecture):
    model = small(architecture)
    images = pictures(2, 8, 12, 1)
    names = ("down0_relu2", "gate0_weights", "gate0_weighted")
    skip, weights, weighted = (run(inner(model, name), images) for name in names)
    assert weights.shape == (2, 8, 12, 1)
    assert 0 < weights.min() < weights.max() < 1
    np.testing.assert_allclose(weighted, skip * weights, atol=1e-6)


@pytest.mark.parametrize("bias", [-100.0, 100.0])
def test_a_shut_gate_lets_nothing_through(bias):
    model = small("attention_unet")
    gated = inner(model, "gate0_norm")
    psi = model.get_layer("gate0_psi")
    psi.kernel.assign(0 * psi.kernel)
    psi.bias.assign([bias])
    images = pictures(1, 8, 8, 1)
    made = run(gated, images)
    if bias < 0:
        np.testing.assert_allclose(made, 0, atol=1e-6)
    else:  # wide open: all of the skip, through a 1×1 convolution
        skip = run(inner(model, "down0_relu2"), images)
        kernel = ops.convert_to_numpy(model.get_layer("gate0_conv").kernel)[0, 0]
        np.testing.assert_allclose(made, skip @ kernel / np.sqrt(1.001), atol=1e-5)


def test_the_level_below_decides_what_passes():
    model = small("attention_unet")
    weights = inner(model, "gate0_weights")
    images = pictures(1, 8, 8, 1)
    before = run(weights, images)
    kernel = model.get_layer("bottom_conv1").kernel
    kernel.assign(-kernel)
    assert np.abs(run(weights, images) - before).max() > 1e-4


def test_a_residual_block_adds_its_shortcut():
    model = small()
    images = pictures(1, 8, 8, 1)
    names = ("down0_norm2", "down0_shortcut_norm", "down0_relu2")
    two, shortcut, made = (run(inner(model, name), images) for name in names)
    assert np.abs(shortcut).max() > 0.1
    np.testing.assert_allclose(made, np.maximum(two + shortcut, 0), atol=1e-6)


@pytest.mark.backend
@pytest.mark.parametrize("architecture", ["unet", "attention_resunet"])
def test_dropout_is_off_in_inference(architecture):
    dropping, plain = (small(architecture, dropout=rate) for rate in (0.5, 0.0))
    images = pictures(1, 8, 8, 1)
    np.testing.assert_array_equal(run(dropping, images), run(plain, images))
    first, second = (run(dropping, images, training=True) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    # The masks follow from the seed: so does a new model's first pass.
    again = run(small(architecture, dropout=0.5), images, training=True)
    np.testing.assert_allclose(first, again, atol=1e-6)


def test_batch_normalisation_is_as_asked():
    def norms(model):
        return [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]

    assert {x.momentum for x in norms(small())} == {0.9}
    assert {x.momentum for x in norms(small(momentum=0.5))} == {0.5}
    assert {x.synchronized for x in norms(small())} == {False}
    assert {x.synchronized for x in norms(small(synchronized=True))} == {True}


# -- files ---------------------------------------------------------------------------------------

LOAD = """
import sys
import numpy as np
from ganlib.apply import load_model
model = load_model(sys.argv[1])
np.save(sys.argv[3], model.predict_on_batch(np.load(sys.argv[2])))
print(model.loss.name)
"""


def test_model_loads_in_a_fresh_process(tmp_path):
    """Nothing but the file: no builder, no custom objects; its loss and metrics come back, too."""
    x, y = pictures(2, 8, 12, 1), (pictures(2, 8, 12, 1) > 0.5).astype("float32")
    model = small(dropout=0.1)  # it has every kind of layer
    model.compile("sgd", BinaryFocal(), metrics=[Jaccard(), Dice(None)], run_eagerly=True)
    model.train_on_batch(x, y)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    script = tmp_path / "load.py"
    script.write_text(LOAD)
    files = [tmp_path / name for name in ("model.keras", "x.npy", "y.npy")]
    output = run_python(script, *files, backend=keras.backend.backend())
    assert output.splitlines()[-1] == "binary_focal"
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model.predict_on_batch(x))


def test_the_size_check_round_trips():
    layer = CheckSize.from_config(CheckSize(8, name="check_size").get_config())
    assert (layer.divisor, layer.name) == (8, "check_size")


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "UNet"}, r"`architecture` must be one of .*Received: 'UNet'"),
        ({"filters": 0}, "`filters` must be an int of 1 or more. Received: filters=0"),
        ({"filters": 4.0}, "Received: filters=4.0"),
        ({"depth": 0}, "`depth` must be an int.*Received: depth=0"),
        ({"channels": -1}, "`channels` must be an int.*Received: channels=-1"),
        ({"dropout": 1.0}, r"`dropout` must lie in \[0, 1\). Received: dropout=1.0"),
        ({"dropout": float("nan")}, "Received: dropout=nan"),
        ({"momentum": -0.1}, r"`momentum` must lie in \[0, 1\). Received: momentum=-0.1"),
        ({"momentum": "0.9"}, "Received: momentum='0.9'"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_refused_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        build_unet(**options)
