"""TensorFlow Datasets, imported only when asked for."""

import numpy as np

from ganlib.data.assemble import assemble
from ganlib.data.errors import DataError
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
    tfds = _import_tfds()
    split = split or "train"
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
    try:
        n = builder.info.splits[split].num_examples
    except Exception as error:
        raise DataError(
            f"TFDS {name!r} has no such split; it has {sorted(builder.info.splits)}. "
            f"Received: split={split!r} ({error})"
        ) from error
    try:
        examples = tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False))
        return _collect(builder, name, examples, n, size, channels)
    except DataError:
        raise
    except Exception as error:
        raise _wrapped(name, "cannot be read", error) from error


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


def _collect(builder, name, examples, n, size, channels):
    features = builder.info.features
    key = next((key for key in IMAGE_KEYS if key in features), None)
    if key is None:
        raise DataError(
            f"TFDS {name!r} has no feature among {IMAGE_KEYS}: export the images to a folder. "
            f"Received: features {sorted(features)}"
        )
    labelled = "label" in features and features["label"].shape == ()
    labels = []

    def images():
        for i, example in enumerate(examples):
            if labelled:
                labels.append(example["label"])
            yield f"number {i}", np.asarray(example[key])

    return ImageSet(
        assemble(images(), n, size, channels),
        np.array(labels) if labelled else None,
        name=builder.info.full_name,
        origin=f"TensorFlow Datasets, {builder.info.full_name}.",
        class_names=getattr(features["label"], "names", None) if labelled else None,
    )
