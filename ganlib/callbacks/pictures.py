"""Samples and losses in a notebook, drawn anew while a GAN trains."""

import io
import time

import keras

from ganlib.apply import draw_latents, make_images, tile

COLUMNS = 8  # of the grid of samples


class LivePictures(keras.callbacks.Callback):
    """Redraws an `Adversarial`'s samples and losses in a notebook while it trains.

    Above them stands how long it still takes. The training itself stays the same, and outside of a
    notebook nothing is shown.

    Args:
        n: int, number of samples; their latents stay the same.
        seconds: float, between two drawings.
    """

    def __init__(self, n=24, seconds=3.0):
        super().__init__()
        self.n, self.seconds = n, seconds

    def on_train_begin(self, logs=None):
        self._latents = draw_latents(self.model, self.n)
        self._losses, self._display, self._first, self._drawn = [], None, None, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._first = epoch if self._first is None else self._first

    def on_train_batch_end(self, batch, logs=None):
        self._losses.append((logs["d_loss"], logs["g_loss"]))
        if len(self._losses) == 1:  # which has compiled
            self._start = time.monotonic()
        if time.monotonic() - self._drawn > self.seconds:
            self._draw(self._time_left())

    def on_train_end(self, logs=None):
        if self._losses:
            self._draw("done")

    def _time_left(self):
        done = len(self._losses) - 1
        steps = (self.params["epochs"] - self._first) * (self.params["steps"] or 0) - done - 1
        if done < 3 or steps < 0:
            return ""
        return f"about {(time.monotonic() - self._start) / done * steps:.0f} s left"

    def _draw(self, text):
        from IPython import display, get_ipython

        if get_ipython() is None:
            return
        from matplotlib.figure import Figure

        images = tile(make_images(self.model.sampler, self._latents), COLUMNS)
        figure = Figure(figsize=(7, 1.9), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(2, 1.3))
        left.imshow(images, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        left.set_axis_off()
        left.set_title(f"epoch {self._epoch + 1} of {self.params['epochs']}", fontsize=8)
        right.plot(self._losses, label=["D's loss", "G's loss"], lw=1)
        right.set_title(text, fontsize=8)
        right.set_xlabel("step (means of the epoch so far)", fontsize=7)
        right.tick_params(labelsize=7)
        right.legend(fontsize=7)
        figure.savefig(file := io.BytesIO(), format="png", dpi=110)
        picture = display.Image(file.getvalue())
        if self._display is None:
            self._display = display.display(picture, display_id=True)
        else:
            self._display.update(picture)
        self._drawn = time.monotonic()
