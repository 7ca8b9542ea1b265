"""How well masks fit: Jaccard (intersection over union) and Dice, over a whole set."""

import math

import keras
import numpy as np
from keras import ops

from ganlib.losses import check_same_shape


@keras.saving.register_keras_serializable("ganlib")
class Jaccard(keras.metrics.Metric):
    """Jaccard index of logits, |A ∩ B| / |A ∪ B|, over the whole set.

    Mask values in [0, 1] are foreground above 0.5, and 255 is, too; other values and NaN logits
    make the score NaN: `fit` can raise no error. It is 1 where both areas are exactly 0, which a
    *soft* one is only where every sigmoid underflows.

    Args:
        threshold: float in (0, 1), above which a pixel is foreground. None: its probability counts.
    """

    def __init__(self, threshold=0.5, name=None, **kwargs):
        if threshold is not None:
            check_threshold(threshold)
        soft = "_soft" if threshold is None else ""
        super().__init__(name=name or f"jaccard{soft}", **kwargs)
        self.threshold = threshold
        # Pixels of the intersection, and of both masks together.
        self.sums = self.add_weight(name="sums", shape=(2,), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch of masks and logits, both `(batch_size, height, width, 1)`."""
        if sample_weight is not None:
            raise ValueError("Jaccard knows no sample weights. Received: some")
        check_same_shape(y_true, y_pred)
        masks, logits = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        known = ((masks >= 0) & (masks <= 1)) | (masks == 255)
        masks = ops.where(known, ops.cast(masks > 0.5, "float32"), math.nan)
        if self.threshold is None:
            found = ops.sigmoid(logits)
        else:
            level = math.log(self.threshold) - math.log1p(-self.threshold)
            found = ops.where(ops.isnan(logits), math.nan, ops.cast(logits > level, "float32"))
        self.sums.assign_add(ops.stack([ops.sum(masks * found), ops.sum(masks) + ops.sum(found)]))

    def result(self):
        """Scalar in [0, 1], or NaN."""
        intersection, areas = self.sums[0], self.sums[1]
        union = areas - intersection
        empty = union == 0  # and not `union > 0`, which NaN is not, either
        return ops.where(empty, 1.0, intersection / ops.where(empty, 1.0, union))

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold}


def score_masks(probabilities, masks, threshold=0.5):
    """Scores predicted masks; all pixels of all pictures count alike.

    Args:
        probabilities: array `(n, height, width[, 1])` in [0, 1], or a list of pictures.
        masks: the same, of 0 and 1.
        threshold: float in (0, 1), the probability above which a pixel counts as foreground.

    Returns:
        dict with `jaccard`, `dice`; `jaccard_soft`, `dice_soft`, where each pixel counts with its
        probability; `foreground`, its share of the pixels in truth; and `n`, pictures. A score is 1
        where both areas are exactly 0.
    """
    check_threshold(threshold)
    masks, probabilities = _check_masks(masks), [np.asarray(p) for p in probabilities]
    shapes = [[x.shape for x in pictures] for pictures in (probabilities, masks)]
    if shapes[0] != shapes[1]:
        received = " and ".join(f"{len(x)} of {set(x)}" for x in shapes)
        raise ValueError(f"Probabilities and masks must share shapes. Received: {received}")
    sums = np.zeros((2, 2))  # rows: above the threshold, soft; columns: intersection, areas
    for p, mask in zip(probabilities, masks, strict=True):
        if not (p.min() >= 0 and p.max() <= 1):  # NaN, too
            raise ValueError(
                "Probabilities must lie in [0, 1]; a U-Net of ganlib gives logits, which need a "
                f"sigmoid. Received: values from {p.min()} to {p.max()}"
            )
        for row, found in zip(sums, (p > threshold, p.astype("float64")), strict=True):
            row += (found * mask).sum(), found.sum() + mask.sum()
    return {**_ratios(*sums), "foreground": _foreground(masks), "n": len(masks)}


def baselines(masks, share=0.5):
    """What predictors score that have not looked at the picture, from the foreground's share alone.

    Returns a dict: "background" (all 0), "foreground" (all 1) and "constant" (all `share`, the
    training set's), each with the four scores at a threshold of 0.5. `masks` as for `score_masks`.
    """
    truth = _foreground(_check_masks(masks))

    def scores(p):  # areas as shares of all pixels
        return _ratios(*((found * truth, found + truth) for found in (float(p > 0.5), p)))

    return {"background": scores(0.0), "foreground": scores(1.0), "constant": scores(share)}


def check_threshold(threshold):
    """Raises ValueError where a threshold is no probability between 0 and 1."""
    if not 0 < threshold < 1:
        raise ValueError(f"`threshold` must lie in (0, 1). Received: threshold={threshold}")


def _ratios(hard, soft):
    scores = {}
    for suffix, (both, areas) in (("", hard), ("_soft", soft)):
        scores[f"jaccard{suffix}"] = float(both / (areas - both)) if areas else 1.0
        scores[f"dice{suffix}"] = float(2 * both / areas) if areas else 1.0
    return scores


def _foreground(masks):
    return float(sum(int(mask.sum()) for mask in masks) / sum(mask.size for mask in masks))


def _check_masks(masks):
    masks = [np.asarray(mask) for mask in masks]
    if not masks or not all(m.shape[2:] in ((), (1,)) and np.isin(m, (0, 1)).all() for m in masks):
        raise ValueError(
            "Masks must be (n, height, width[, 1]), n ≥ 1, of 0 and 1 only; `masks > 127` makes "
            f"such of bytes. Received: {[(m.shape, m.max()) for m in masks[:3]]}"
        )
    return [mask.astype(bool) for mask in masks]
