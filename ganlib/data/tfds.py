"""TensorFlow Datasets, imported only when asked for."""

import numpy as np

from ganlib.data.assemble import assemble
from ganlib.data.errors import DataError, NoSplitError
from ganlib.data.imageset import ImageSet

IMAGE_KEYS = ("image", "hr")  # "hr": the high-resolution image of a pair, as in div2k


def load_tfds(name, split=None, size=None, channels=None):
    """Downloads (once) and loads a set of TensorFlow Datasets, in its stored order.

    Args:
        name: str, such as "mnist" or "lsun/bedroom".
        split: str, TFDS' own syntax, such as "train" or "train[:10%]". `None` is "train".
        size: int or `None`, as in `ganlib.data.resize.fit`; applied image by image, so that only
            the small images need memory.
        channels: int or `None`, likewise.

    Returns:
        `ImageSet`, with labels if the set has the feature `label`.

    Raises:
        DataError: TFDS is not installed, knows no such set or split, cannot download it, or the set
            has no image.
    """
    split = split or "train"
    builder = prepared(name)
    n = count(builder, split)
    features = builder.info.features
    key = image_key(builder)
    labelled = "label" in features and features["label"].shape == ()
    labels = []

    def images():
        for i, example in enumerate(examples(builder, split)):
            if labelled:
                labels.append(example["label"])
            yield f"number {i}", np.asarray(example[key])

    return ImageSet(
        assemble(images(), n, size, channels),
        np.array(labels) if labelled else None,
        name=builder.info.full_name,
        origin=origin(builder),
        class_names=getattr(features["label"], "names", None) if labelled else None,
    )


def prepared(name):
    """The TFDS builder of a set, once the set is downloaded and prepared.

    Raises:
        DataError: TFDS is not installed, knows no such set or cannot download it.
    """
    tfds = _import_tfds()
    try:
        builder = tfds.builder(name)
    except tfds.core.DatasetNotFoundError as error:
        raise DataError(
            "TensorFlow Datasets knows no such set: its names are listed at "
            f"https://www.tensorflow.org/datasets/catalog. Received: {name!r}"
        ) from error
    except Exception as error:
        raise _wrapped(name, "cannot be set up", error) from error
    try:
        builder.download_and_prepare()
    except Exception as error:
        raise _wrapped(name, "cannot be downloaded or prepared", error) from error
    return builder


def count(builder, split):
    """How many examples a split has.

    Raises:
        DataError: there is no such split.
    """
    try:
        return builder.info.splits[split].num_examples
    except Exception as error:
        raise NoSplitError(
            f"TFDS {_name(builder)!r} has no such split; it has {sorted(builder.info.splits)}. "
            f"Received: split={split!r} ({error})"
        ) from error


def image_key(builder):
    """The name of the feature that holds the images, one of `IMAGE_KEYS`.

    Raises:
        DataError: the set has no image.
    """
    features = builder.info.features
    key = next((key for key in IMAGE_KEYS if key in features), None)
    if key is None:
        raise DataError(
            f"TFDS {_name(builder)!r} has no feature among {IMAGE_KEYS}: export the images to a "
            f"folder. Received: features {sorted(features)}"
        )
    return key


def examples(builder, split):
    """Yields a split's examples in their stored order, as dicts of NumPy arrays.

    Raises:
        DataError: they cannot be read.
    """
    try:
        stored = builder.as_dataset(split=split, shuffle_files=False)
        yield from _import_tfds().as_numpy(stored)
    except Exception as error:
        raise _wrapped(_name(builder), "cannot be read", error) from error


def origin(builder):
    """One sentence: where the images come from."""
    return f"TensorFlow Datasets, {builder.info.full_name}."


def _name(builder):
    """The name as users give it, without the version."""
    return builder.info.full_name.rpartition("/")[0]


def _import_tfds():
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise DataError(
            "TensorFlow Datasets is not installed: pip install tensorflow tensorflow-datasets, or "
            f"give an .npz or a folder. Received: {error}"
        ) from error
    return tensorflow_datasets


def _wrapped(name, what, error):
    if isinstance(error, ModuleNotFoundError):
        remedy = f"a package is missing: pip install {error.name}"
    else:
        remedy = "check the internet connection and the disk, or give an .npz or a folder"
    return DataError(f"TFDS {name!r} {what}: {remedy}. Received: {type(error).__name__}: {error}")
