"""Jaccard and Dice: against NumPy, whatever the batches; baselines in closed form."""

import keras
import numpy as np
import pytest
from keras import ops

from ganlib.metrics.segmentation import LIMB, Dice, Jaccard, baselines, score_masks

METRICS = {"jaccard": Jaccard, "dice": Dice}
every_metric = pytest.mark.parametrize("kind", METRICS)
every_threshold = pytest.mark.parametrize("threshold", [0.5, 0.2, 0.9, None])


def a_set(n=6, size=(8, 5)):
    """Logits that know something of their masks: both float32 `(n, height, width, 1)`."""
    rng = np.random.default_rng(0)
    masks = (rng.uniform(size=(n, *size, 1)) < 0.3).astype("float32")
    return rng.normal(2 * masks - 1, 2).astype("float32"), masks


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype("float64")))


def oracle(kind, found, masks):
    found = found.astype("float64")
    intersection, areas = (found * masks).sum(), found.sum() + masks.sum()
    return 2 * intersection / areas if kind == "dice" else intersection / (areas - intersection)


def measure(metric, logits, masks, batch_size):
    metric.reset_state()
    for start in range(0, len(masks), batch_size):
        batch = slice(start, start + batch_size)
        metric.update_state(masks[batch], logits[batch])
    return float(metric.result())


# -- Keras metrics -------------------------------------------------------------------------------


@pytest.mark.backend
@every_threshold
@every_metric
def test_metric_is_of_the_whole_set(kind, threshold):
    logits, masks = a_set()
    p = sigmoid(logits)
    expected = oracle(kind, p if threshold is None else p > threshold, masks)
    metric = METRICS[kind](threshold)
    for batch_size in (1, 4, 6):
        assert measure(metric, logits, masks, batch_size) == pytest.approx(expected, rel=1e-6)


def test_the_usual_coefficient_is_not():
    """What goes round as `jacard_coef`, here for the record: the batches decide."""
    logits, masks = a_set()
    masks[:3] = 0

    def usual(p, y):
        return ((p * y).sum() + 1) / (p.sum() + y.sum() - (p * y).sum() + 1)

    p = sigmoid(logits)
    means = [
        np.mean([usual(p[i : i + n], masks[i : i + n]) for i in range(0, 6, n)]) for n in (1, 6)
    ]
    assert abs(means[0] - means[1]) > 0.01
    soft = [measure(Jaccard(None), logits, masks, n) for n in (1, 6)]
    assert soft[0] == pytest.approx(soft[1], rel=1e-6)


@pytest.mark.backend
@every_threshold
@every_metric
def test_nothing_to_find(kind, threshold):
    metric = METRICS[kind](threshold)
    assert float(metric.result()) == 1.0  # nothing seen, either
    empty = np.zeros((1, 4, 4, 1), "float32")
    metric.update_state(empty, empty - 200)
    assert float(metric.result()) == 1.0
    metric.update_state(empty, empty + 200)  # found where nothing is
    assert float(metric.result()) == 0.0
    metric.reset_state()
    metric.update_state(empty + 1, empty - 200)  # missed
    assert float(metric.result()) == pytest.approx(0.0, abs=1e-30)
    metric.reset_state()
    metric.update_state(empty + 1, empty + 200)
    assert float(metric.result()) == 1.0


@pytest.mark.backend
@pytest.mark.parametrize("threshold", [0.5, None])
def test_many_pixels(threshold):
    """After 10⁸ pixels a batch that adds three still counts."""
    metric = Jaccard(threshold)
    metric.sums.assign(np.array([[1500.0, 0.0], [3000.0, 0.0]]))
    before = np.array([1500, 3000]) * LIMB
    masks = np.zeros((1, 2, 2, 1), "float32")
    masks[0, 0] = 1
    logits = np.array([[[[300.0], [-300.0]], [[300.0], [-300.0]]]], "float32")  # 1 hit of 2 and 2
    for _ in range(500):
        metric.update_state(masks, logits)
    intersection, areas = before + 500 * np.array([1, 4])
    sums = ops.convert_to_numpy(metric.sums).astype("float64")
    np.testing.assert_array_equal(sums @ [LIMB, 1], [intersection, areas])
    assert float(metric.result()) == pytest.approx(intersection / (areas - intersection), rel=1e-6)


@pytest.mark.backend
def test_large_batches_of_faint_pixels():
    metric, p, share = Jaccard(None), 0.07, 0.25
    masks = np.zeros((8, 256, 256, 1), "float32")
    masks[:, :128, :128] = 1
    logits = np.full_like(masks, np.log(p / (1 - p)))
    for _ in range(8):
        metric.update_state(masks, logits)
    assert float(metric.result()) == pytest.approx(p * share / (p + share - p * share), rel=1e-4)


@pytest.mark.backend
def test_metric_in_fit():
    logits, masks = a_set()
    model = keras.Sequential([keras.Input((8, 5, 1)), keras.layers.Identity()])
    metrics = [kind(threshold) for kind in (Jaccard, Dice) for threshold in (0.5, None)]
    model.compile(loss="mse", metrics=metrics)
    made = model.evaluate(logits, masks, batch_size=4, verbose=0, return_dict=True)
    scores = score_masks(sigmoid(logits), masks)
    for name in ("jaccard", "jaccard_soft", "dice", "dice_soft"):
        assert made[name] == pytest.approx(scores[name], rel=1e-5)


@pytest.mark.backend
def test_masks_of_any_type():
    logits, masks = a_set()
    for dtype in ("bool", "uint8", "int32"):
        assert measure(Dice(), logits, masks.astype(dtype), 6) == pytest.approx(
            measure(Dice(), logits, masks, 6)
        )


@every_threshold
@every_metric
def test_metric_round_trip(kind, threshold):
    metric = METRICS[kind](threshold)
    assert metric.name == (f"{kind}_soft" if threshold is None else kind)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(again) is type(metric)
    assert (again.threshold, again.name) == (threshold, metric.name)
    assert METRICS[kind](threshold, name="mine").name == "mine"


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, float("nan")])
def test_threshold_out_of_range(threshold):
    logits, masks = a_set()
    for make in (Jaccard, Dice, lambda t: score_masks(sigmoid(logits), masks, t)):
        with pytest.raises(ValueError, match=rf"`threshold` must lie in \(0, 1\).*{threshold}"):
            make(threshold)


def test_metric_refuses_what_it_would_miscount():
    logits, masks = a_set()
    with pytest.raises(ValueError, match="same shape"):
        Jaccard().update_state(masks[..., 0], logits)
    with pytest.raises(ValueError, match="knows no sample weights"):
        Jaccard().update_state(masks, logits, sample_weight=np.ones(6))


# -- NumPy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_scores_by_hand(threshold):
    logits, masks = a_set()
    p = sigmoid(logits)
    scores = score_masks(p, masks, threshold)
    for kind in METRICS:
        assert scores[kind] == pytest.approx(oracle(kind, p > threshold, masks))
        assert scores[f"{kind}_soft"] == pytest.approx(oracle(kind, p, masks))
    assert scores["foreground"] == pytest.approx(masks.mean())
    assert scores["n"] == 6
    assert set(scores) == {"jaccard", "jaccard_soft", "dice", "dice_soft", "foreground", "n"}
    assert score_masks(p[..., 0], masks[..., 0].astype(bool), threshold) == scores


def test_four_pixels():
    scores = score_masks([[[0.9, 0.6], [0.4, 0.1]]], [[[1, 0], [1, 0]]])
    assert (scores["jaccard"], scores["dice"]) == (1 / 3, 1 / 2)
    assert scores["jaccard_soft"] == pytest.approx(1.3 / 2.7)
    assert scores["dice_soft"] == pytest.approx(2.6 / 4.0)


def test_pictures_of_different_sizes():
    pairs = [a_set(1, size) for size in ((4, 4), (7, 3), (2, 9))]
    p, masks = [sigmoid(x)[0] for x, _ in pairs], [m[0] for _, m in pairs]
    scores = score_masks(p, masks)
    flat = [np.concatenate([x.ravel() for x in xs]) for xs in (p, masks)]
    assert scores["jaccard"] == pytest.approx(oracle("jaccard", flat[0] > 0.5, flat[1]))
    assert scores["dice_soft"] == pytest.approx(oracle("dice", *flat))
    assert scores["n"] == 3
    assert score_masks([x[..., 0] for x in p], [m[..., 0] for m in masks]) == scores


def test_nothing_to_find_and_nothing_found():
    empty = np.zeros((2, 3, 3))
    assert score_masks(empty, empty) == {
        **dict.fromkeys(("jaccard", "dice", "jaccard_soft", "dice_soft"), 1.0),
        "foreground": 0.0,
        "n": 2,
    }
    assert score_masks(empty + 1, empty)["jaccard"] == 0.0


def masks_of_share(percent):
    return np.repeat([1, 0], [percent, 100 - percent]).reshape(1, 10, 10, 1)


def test_constant_of_one_half_at_seven_percent():
    # 0.5·0.07 / (0.5 + 0.07 - 0.5·0.07)
    scores = baselines(masks_of_share(7))
    assert scores["constant"]["jaccard_soft"] == pytest.approx(0.0654, abs=5e-5)
    assert scores["constant"]["dice_soft"] == pytest.approx(0.07 / 0.57)
    assert scores["constant"]["jaccard"] == 0.0
    assert scores["foreground"]["jaccard"] == pytest.approx(0.07)
    assert scores["foreground"]["dice"] == pytest.approx(0.14 / 1.07)


@pytest.mark.parametrize("share", [None, 0.0, 0.2, 0.6, 1.0])
@pytest.mark.parametrize("percent", [0, 7, 60, 100])
def test_baselines_are_scores_of_constant_pictures(percent, share):
    masks = masks_of_share(percent)
    made = baselines(masks, share)
    probabilities = {
        "background": 0.0,
        "foreground": 1.0,
        "constant": 0.5 if share is None else share,
    }
    assert set(made) == set(probabilities)
    for name, p in probabilities.items():
        scores = score_masks(np.full(masks.shape, p), masks)
        assert made[name] == pytest.approx({key: scores[key] for key in made[name]})
        assert set(made[name]) == {"jaccard", "jaccard_soft", "dice", "dice_soft"}


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_share_out_of_range(share):
    with pytest.raises(ValueError, match=rf"`share` must lie in \[0, 1\]. Received: share={share}"):
        baselines(masks_of_share(7), share)


P, M = np.full((2, 4, 4, 1), 0.5), np.zeros((2, 4, 4, 1), int)


@pytest.mark.parametrize(
    ("p", "masks", "message"),
    [
        (P[:1], M, r"of the same shapes. Received: \[\(4, 4, 1\)\] and"),
        (P[..., 0], M, "of the same shapes"),
        (P[:, :3], M, "of the same shapes"),
        (4 * P, M, r"lie in \[0, 1\]; .* need a sigmoid. Received: values from 2.0 to 2.0"),
        (-P, M, "Received: values from -0.5"),
        (P * np.nan, M, "Received: values from nan"),
        (P, M + 255, "must hold 0 and 1 only; .*Received: values from 255 to 255"),
        (P, P, "must hold 0 and 1 only"),
        (P, P * np.nan, "must hold 0 and 1 only"),
        (P[:0], M[:0], r"one at least.*Received: \[\]"),
        (P[0, 0], M[0, 0], "Masks must be"),
        (np.zeros((5, 4, 4, 2)), np.zeros((5, 4, 4, 2)), "Received: 5 pictures, "),
    ],
    ids=lambda value: "" if isinstance(value, np.ndarray) else value[:24],
)
def test_refused_masks(p, masks, message):
    with pytest.raises(ValueError, match=message):
        score_masks(p, masks)


def test_baselines_refuse_the_same_masks():
    with pytest.raises(ValueError, match="must hold 0 and 1 only"):
        baselines(M + 255)
