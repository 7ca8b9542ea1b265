"""Mean and covariance of features that come in batches, and the distance between two of them."""

import math
import typing

import numpy as np

from ganlib.metrics.checks import caution, check_features, check_finite

LEAST = 2048


class Moments:
    """Accumulates mean and covariance in float64, whatever the sizes of the batches.

    Batches are merged by their means and scatter matrices (Chan et al., 1983): sums of squares
    would cancel where the mean is far from 0. As long as there are fewer rows than features, rows
    are kept in place of the matrix, which they are a root of.

    Args:
        features: array `(n, d)` to begin with; None: nothing.

    Attributes:
        n: int, how many rows there were.
        mean: float64 array `(d,)`.
        root: float64 array `(k, d)`, k < d, with `root.T @ root == scatter`; None: there is none
            so small.
    """

    def __init__(self, features=None):
        self.n, self.mean, self.root, self._scatter = 0, None, None, None
        if features is not None:
            self.update(features)

    def update(self, features):
        """Adds rows `(n, d)`, n ≥ 0, and returns itself.

        Raises:
            ValueError: another shape, or values that are not finite.
        """
        features = np.asarray(features, "float64")
        if features.ndim != 2 or (self.n and features.shape[1] != len(self.mean)):
            wanted = f"(n, {len(self.mean)})" if self.n else "(n, d)"
            raise ValueError(f"Features must be {wanted}. Received: shape={features.shape}")
        if not len(features):
            return self
        check_finite(features)
        mean = features.mean(axis=0)
        return self._add(len(features), mean, features - mean)

    def merge(self, other):
        """Adds what another `Moments` has seen, and returns itself.

        Raises:
            ValueError: the other has another number of features.
        """
        if self.n and other.n and len(self.mean) != len(other.mean):
            raise ValueError(
                "Moments must be over the same number of features. Received: "
                f"{len(self.mean)} and {len(other.mean)}"
            )
        if not other.n:
            return self
        return self._add(other.n, other.mean, other.root, other._scatter)

    @property
    def scatter(self):
        """float64 array `(d, d)`, the sum of the outer products of rows less their mean."""
        return self._scatter if self.root is None else self.root.T @ self.root

    @property
    def covariance(self):
        """float64 array `(d, d)`, the unbiased estimate. Raises ValueError with n < 2."""
        if self.n < 2:
            raise ValueError(f"A covariance needs two rows at least. Received: n={self.n}")
        return self.scatter / (self.n - 1)

    def _add(self, n, mean, root, scatter=None):
        if self.n:
            total = self.n + n
            step = mean - self.mean
            between = (step * np.sqrt(self.n * n / total))[None]
            mean, n = self.mean + step * (n / total), total
            if self.root is None or root is None:
                scatter = root.T @ root if scatter is None else scatter
                root, scatter = None, self.scatter + scatter + between.T @ between
            else:
                root = np.concatenate([self.root, root, between])
        if root is not None and len(root) >= len(mean):
            root, scatter = None, root.T @ root
        self.n, self.mean, self.root, self._scatter = n, mean, root, scatter
        return self


class Frechet(typing.NamedTuple):
    """A Fréchet distance and what to know with it.

    Attributes:
        value: float ≥ 0.
        n_real, n_fake: int.
        caution: str, why the sample is too small for it; None where it is not.
    """

    value: float
    n_real: int
    n_fake: int
    caution: str | None


def frechet_distance(first, second):
    """Squared Fréchet (2-Wasserstein) distance between Gaussians fitted to two sets of features.

    |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½), with full covariances (Heusel et al., 2017). It is FID
    only over Inception's pool features. Biased upwards on small samples: compare only at equal n,
    beside the distance between two sets of real images.

    Args:
        first: array `(n, d)` of features, or their `Moments`.
        second: array `(m, d)` of features, or their `Moments`.

    Returns:
        float ≥ 0.

    Raises:
        ValueError: dimensions that differ, fewer than two rows, or values that are not finite.
    """
    if not isinstance(first, Moments) and not isinstance(second, Moments):
        first, second = check_features(first, second)
    first, second = (x if isinstance(x, Moments) else Moments(x) for x in (first, second))
    if min(first.n, second.n) < 2 or len(first.mean) != len(second.mean):
        shapes = [(x.n, 0 if x.mean is None else len(x.mean)) for x in (first, second)]
        raise ValueError(
            f"Features must be (n, d) and (m, d) with n, m ≥ 2. Received: {shapes[0]} and "
            f"{shapes[1]}"
        )
    difference = first.mean - second.mean
    spread = sum(_trace(x) for x in (first, second)) - 2 * _cross(first, second)
    return float(max(difference @ difference + spread, 0.0))


def _trace(moments):
    root = moments.root
    scatter = np.trace(moments.scatter) if root is None else np.einsum("kd,kd->", root, root)
    return scatter / (moments.n - 1)


def _cross(first, second):
    """tr (A B)^½, of the covariances A and B.

    With A = Rᵀ R it is tr (R B Rᵀ)^½, which is symmetric: no complex roots by rounding. With
    B = Sᵀ S, too, it is the sum of the singular values of R Sᵀ. With fewer rows than features both
    are small.
    """
    scale = math.sqrt((first.n - 1) * (second.n - 1))
    if first.root is not None and second.root is not None:
        return np.linalg.svd(first.root @ second.root.T, compute_uv=False).sum() / scale
    if first.root is None:
        first, second = second, first
    root = _root(first.scatter) if first.root is None else first.root
    values = np.linalg.eigvalsh(root @ second.scatter @ root.T)
    return np.sqrt(np.clip(values, 0, None)).sum() / scale


def _root(matrix):
    """R with Rᵀ R the positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    # What rounding leaves of the null space is dropped: its square root would no longer be small.
    kept = values > max(values[-1], 0) * len(values) * np.finfo("float64").eps
    return (vectors[:, kept] * np.sqrt(values[kept])).T


def frechet(real, fake):
    """`frechet_distance` with a caution where the sample is too small.

    Args:
        real: array `(n, d)` of features, or their `Moments`.
        fake: array `(m, d)` of features, or their `Moments`.

    Returns:
        `Frechet`.

    Raises:
        ValueError: as `frechet_distance`.
    """
    real, fake = (x if isinstance(x, Moments) else Moments(x) for x in (real, fake))
    value = frechet_distance(real, fake)
    n, d = min(real.n, fake.n), len(real.mean)
    what = "the Fréchet distance comes out too large, the more so the fewer images; read KID"
    if n <= d:
        what = f"a covariance of {d:,} features has no full rank, and {what}"
    source = "Heusel et al., 2017; Chong & Forsyth, 2020"
    return Frechet(value, real.n, fake.n, caution(n, max(LEAST, d + 1), what, source))
