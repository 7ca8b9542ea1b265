"""`load_photos`: photographs from wherever they are."""

from pathlib import Path

import numpy as np

from ganlib.data.errors import DataError
from ganlib.data.folder import image_paths, inside, read_image
from ganlib.data.photos import Photos

ACCEPTED = 'Photos, a list of arrays, "photos", "tfds:NAME" or an image folder'
SPLITS = ("train", "validation", "test")


def load_photos(spec, split=None):
    """Loads photographs, which may differ in size, as RGB.

    A folder has its splits in subfolders "train", "validation" and "test". Where some of them are
    missing, in a folder or in TensorFlow Datasets, pictures for them are set aside by a fixed draw
    (seed 0), a tenth for each:

    * without subfolders, or with "train" alone: "validation" and "test" are set aside;
    * "train" and "test": "validation" is set aside from "train";
    * "train" and "validation", as in DIV2K: the stored "validation" is the test set, and
      "validation" is set aside from "train".

    Args:
        spec: `Photos`, or a list or tuple of uint8 arrays; "photos", ten embedded photographs;
            "tfds:NAME" or "tfds:NAME/CONFIG", such as "tfds:div2k/bicubic_x4", whose
            high-resolution pictures are taken; or the path of an image folder.
        split: "train", "validation" or "test"; `None` for all pictures. For TFDS also its own
            syntax, such as "train[:10%]". Pictures in memory have none.

    Returns:
        `Photos`.

    Raises:
        DataError: what is wrong with the data, and what to do.

    Example:

    >>> load_photos("photos", split="test")
    Photos('photos', 3 × 300×451 to 427×640, 3 groups, real)
    """
    if isinstance(spec, Photos | list | tuple):
        if split is not None:
            raise DataError(
                "Pictures in memory have no named splits: leave `split` out and divide the Photos "
                f"with .split(0.8, seed=0). Received: split={split!r}"
            )
        return spec if isinstance(spec, Photos) else Photos(spec)
    if not isinstance(spec, str | Path):
        raise DataError(f"`spec` must be {ACCEPTED}. Received: {type(spec).__name__}")
    if str(spec) == "photos":
        from ganlib.data.embedded import photographs

        _check_split(split)
        return photographs(split)
    if str(spec).startswith("tfds:"):
        return _from_tfds(str(spec).removeprefix("tfds:"), split)
    path = Path(spec).expanduser()
    if path.is_dir():
        return _from_folder(path, split)
    there = "a file" if path.exists() else "nothing there"
    raise DataError(f"`spec` must be {ACCEPTED}. Received: {str(spec)!r} ({there})")


def _from_folder(folder, split):
    _check_split(split)
    stored = {name for name in SPLITS if (folder / name).is_dir()}
    if split is None or not stored:
        root, held_out = folder, SPLITS[1:]
    else:
        name, held_out = _where(split, stored, f"The folder {folder}")
        root = inside(folder / name, folder)
    paths = image_paths(root)
    if split is not None and held_out:
        paths = [paths[i] for i in _share(len(paths), held_out, split, f"The folder {root}")]
    return Photos(
        [read_image(path) for path in paths],
        [path.relative_to(folder).as_posix() for path in paths],
        name=folder.resolve().name,
        origin=f"Image folder {folder.resolve().name!r}.",
    )


def _from_tfds(name, split):
    from ganlib.data import tfds

    builder = tfds.prepared(name)
    stored = sorted(builder.info.splits)
    held_out = ()
    if split is None:
        split = part = "+".join(stored)
    elif split in SPLITS:
        part, held_out = _where(split, set(stored) & set(SPLITS), f"TFDS {name!r}")
    else:
        part = split  # TFDS' own syntax
    n, key = tfds.count(builder, part), tfds.image_key(builder)
    chosen = range(n)
    if held_out:
        chosen = _share(n, held_out, split, f"TFDS {name!r}")
    chosen = set(map(int, chosen))
    images = {
        f"{part} {i}": np.asarray(example[key])
        for i, example in enumerate(tfds.examples(builder, part))
        if i in chosen
    }
    return Photos(
        list(images.values()),
        list(images),
        name=builder.info.full_name,
        origin=tfds.origin(builder),
    )


def _check_split(split):
    if split is not None and split not in SPLITS:
        raise DataError(
            f"Photographs have the splits {', '.join(SPLITS)}; leave `split` out for all of them. "
            f"Received: split={split!r}"
        )


def _where(split, stored, what):
    """The stored split to read, and the splits that have to be set aside from it."""
    if stored == set(SPLITS):
        return split, ()
    if stored == {"train"}:
        return "train", ("validation", "test")
    if "train" in stored and len(stored) == 2:
        return (*(stored - {"train"}), ()) if split == "test" else ("train", ("validation",))
    raise DataError(
        f"{what} needs a split named train to set pictures aside from: rename one, or load all of "
        f"it and divide the pictures with .split(0.8, seed=0). Received: {sorted(stored)}"
    )


def _share(n, held_out, split, what):
    """Indices of the pictures, among n, that belong to a split; a tenth for each held-out one."""
    size = max(1, round(n / 10))
    if n <= len(held_out):
        raise DataError(
            f"{what} has too few pictures to set some aside for {' and '.join(held_out)}: at least "
            f"{len(held_out) + 1} are needed. Received: {n}"
        )
    order = np.random.default_rng(0).permutation(n)
    parts = {name: order[i * size : (i + 1) * size] for i, name in enumerate(held_out)}
    parts["train"] = order[len(held_out) * size :]
    return np.sort(parts[split])
