"""TensorFlow Datasets, imported only when asked for."""

import contextlib

import numpy as np

from ganlib.data.container import Images
from ganlib.data.errors import DataError, NoSplitError
from ganlib.data.fit import gather

IMAGE_KEYS = ("image", "hr")  # "hr": the high-resolution image of a pair, as in div2k
TRIMAP, BACKGROUND = {1, 2, 3}, 2  # as in oxford_iiit_pet: the pet, what is around it, its border


def load_tfds(name, split=None, size=None, channels=None, any_size=False, masks=False):
    """Downloads (once) and loads a set of TensorFlow Datasets, in its stored order; see `load`.

    Images are brought to `size` and `channels` one by one, so that only small ones need memory.
    """
    split = split or "train"
    builder = prepared(name)
    n, features = count(builder, split), builder.info.features
    key = next((key for key in IMAGE_KEYS if key in features), None)
    if key is None or (masks and "segmentation_mask" not in features):
        missing = "no image" if key is None else "no masks, the feature segmentation_mask"
        raise DataError(
            f"TFDS {name!r} has {missing}: choose another set, or export it to a folder. Received: "
            f"features {sorted(features)}"
        )
    labelled = "label" in features and features["label"].shape == ()
    labels, planes = [], []

    def images():
        with _errors(name, "cannot be read"):
            stored = builder.as_dataset(split=split, shuffle_files=False)
            for i, example in enumerate(_import_tfds().as_numpy(stored)):
                labels.append(example["label"] if labelled else None)
                planes.append(np.asarray(example["segmentation_mask"])[..., 0] if masks else None)
                yield f"number {i}", np.asarray(example[key])

    # A mask is resized with its image, at the end.
    pixels = gather(images(), n, None if masks else size, channels, any_size or masks)
    if masks and set().union(*(np.unique(mask).tolist() for mask in planes)) <= TRIMAP:
        planes = [mask != BACKGROUND for mask in planes]
    return Images(
        pixels,
        planes if masks else None,
        labels if labelled else None,
        names=[f"{split} {i}" for i in range(n)],
        name=builder.info.full_name,
        origin=f"TensorFlow Datasets, {builder.info.full_name}.",
        class_names=getattr(features["label"], "names", None) if labelled else None,
    )


def prepared(name):
    """The TFDS builder of a set, once the set is downloaded and prepared; errors as above."""
    tfds = _import_tfds()
    with _errors(name, "is unknown or cannot be set up (https://www.tensorflow.org/datasets)"):
        builder = tfds.builder(name)
    with _errors(name, "cannot be downloaded or prepared"):
        builder.download_and_prepare()
    return builder


def count(builder, split):
    """How many examples a split has; a `NoSplitError` where there is none."""
    try:
        return builder.info.splits[split].num_examples
    except Exception as error:
        raise NoSplitError(
            f"TFDS {builder.info.full_name!r} has no such split; it has "
            f"{sorted(builder.info.splits)}. Received: split={split!r} ({error})"
        ) from error


def _import_tfds():
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise DataError(
            "TensorFlow Datasets is not installed: pip install tensorflow tensorflow-datasets, or "
            f"give an .npz or a folder. Received: {error}"
        ) from error
    return tensorflow_datasets


@contextlib.contextmanager
def _errors(name, what):
    """Whatever goes wrong in TFDS as one `DataError` that says what to do."""
    try:
        yield
    except Exception as error:
        remedy = "check the internet connection and the disk, or give an .npz or a folder"
        if isinstance(error, ModuleNotFoundError):
            remedy = f"a package is missing: pip install {error.name}"
        lines = str(error).strip().splitlines() or [""]
        raise DataError(
            f"TFDS {name!r} {what}: {remedy}. Received: {type(error).__name__}: {lines[0]}"
        ) from error
