"""Image files into image files, whatever is done to them: through Python and by command."""

import json
import sys

import numpy as np
import pytest
from image_models import cut, make_brightness, make_nearest, noise, opened
from PIL import Image

from ganlib import __main__ as command_line
from ganlib import apply
from ganlib.apply import segment_files, upscale_files
from ganlib.data import DataError


class Upscale:
    """What differs between the two: here enlarging, by 2."""

    verb, suffix, folder, scale, make_model = "upscale", "_x2", "upscaled", 2, make_nearest
    fields = ("input", "output", "seconds")
    files = staticmethod(lambda paths, out: upscale_files(make_nearest(), paths, out))


class Segment:
    """What differs between the two: here masks."""

    verb, suffix, folder, scale, make_model = "segment", "_mask", "segmented", 1, make_brightness
    fields = ("input", "output", "foreground", "seconds")
    files = staticmethod(lambda paths, out: segment_files(make_brightness(), paths, out))


@pytest.fixture(params=[Upscale, Segment], ids=lambda job: job.verb)
def job(request):
    return request.param


# -- Python --------------------------------------------------------------------------------------


def test_files(job, tmp_path):
    for i in range(3):
        Image.fromarray(noise(4, 4 + i, 3)).save(tmp_path / f"{i}.png")
    cut(tmp_path / "1.png")
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    out = tmp_path / "new" / "out"
    results = job.files(paths, out)
    assert [result["input"] for result in results] == list(map(str, paths))
    assert [result["output"] is None for result in results] == [False, True, False]
    assert "1.png cannot be read" in results[1]["error"]
    assert all(result["seconds"] >= 0 for result in results)
    assert opened(results[2]["output"]).size == (job.scale * 6, job.scale * 4)
    assert {path.name for path in out.iterdir()} == {f"{i}{job.suffix}.png" for i in (0, 2)}


def test_nothing_is_written_outside_the_folder(job, tmp_path):
    (tmp_path / "other").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "other" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "kept.png").write_bytes(b"old")
    (tmp_path / "out" / f"a{job.suffix}.png").symlink_to(tmp_path / "kept.png")
    path = tmp_path / "out" / ".." / "other" / "a.png"
    (result,) = job.files([path], tmp_path / "out")
    assert result["output"] == str(tmp_path / "out" / f"a{job.suffix}.png")
    assert (tmp_path / "kept.png").read_bytes() == b"old"
    assert len(list((tmp_path / "other").iterdir())) == len(list((tmp_path / "out").iterdir())) == 1


def test_a_failed_write_leaves_the_old_file(job, tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    target = tmp_path / f"a{job.suffix}.png"
    target.write_bytes(b"old")

    def save(self, path, *_, **__):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    (result,) = job.files([tmp_path / "a.png"], tmp_path)
    assert "No space left" in result["error"]
    assert target.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 2), (4, 5, 3), (4, 5, 4)], ids=str)
def test_pixels_come_back(tmp_path, shape):
    pixels = noise(*shape)
    apply.write_png(pixels, tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(opened(tmp_path / "a.png")), pixels.squeeze())
    assert len(list(tmp_path.iterdir())) == 1


def test_a_link_in_wait_is_not_written_through(tmp_path, monkeypatch):
    monkeypatch.setattr(apply.os, "getpid", lambda: 7)
    (tmp_path / "kept.png").write_bytes(b"old")
    (tmp_path / ".a.png.7.tmp").symlink_to(tmp_path / "kept.png")
    apply.write_png(noise(4, 5, 3), tmp_path / "a.png")
    assert (tmp_path / "kept.png").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "kept.png"}


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [
        (["a/x.png", "b/none.png"], "out", r"no image file there.*b/none\.png'"),
        (["a/x.png", "a"], "out", r"no image file there.*/a'"),
        (["a/x.png", "b/text.png"], "out", r"b/text\.png cannot be read"),
        (["a/x.png", "b/deep.png"], "out", r"b/deep\.png has more than 8 bits"),
        (["a/x.png", "b/X.png"], "out", r"out/x{}\.png: rename.*a/x\.png, .*b/X\.png"),
        (["a/x.png", "a/x.png"], "out", r"Several images .*, or {verb} them"),
        (["a/x.png", "a/x{}.png"], "a", r"a/x{}\.png would replace an input"),
        (["a/x.png"], "b/text.png", r"text\.png can't be made"),
    ],
)
def test_nothing_is_done_before_all_inputs_are_good(job, tmp_path, inputs, out, message):
    for name in ("a/x.png", "a/x{}.png", "b/X.png"):
        path = tmp_path / name.format(job.suffix)
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    (tmp_path / "b" / "text.png").write_text("no image")
    Image.fromarray(np.full((4, 4), 40000, "uint16")).save(tmp_path / "b" / "deep.png")
    before = sorted(tmp_path.rglob("*"))
    paths = [tmp_path / name.format(job.suffix) for name in inputs]
    with pytest.raises(DataError, match=message.format(job.suffix, verb=job.verb)):
        job.files(paths, tmp_path / out)
    assert sorted(tmp_path.rglob("*")) == before


# -- the commands --------------------------------------------------------------------------------


@pytest.fixture
def ganlib(job, monkeypatch, capsys, tmp_path):
    """`ganlib("a.png …")` runs the command in a folder with a model; `(exit code, out, err)`."""
    monkeypatch.chdir(tmp_path)
    job.make_model().save("model.keras")
    for name in "abc":
        Image.fromarray(noise(4, 5, 3)).save(f"{name}.png")

    def ganlib(arguments):
        monkeypatch.setattr(sys, "argv", ["ganlib", job.verb, *arguments.split()])
        with pytest.raises(SystemExit) as end:
            command_line.main()
        return end.value.code or 0, *capsys.readouterr()

    return ganlib


def test_command(ganlib, job, tmp_path):
    code, output, _ = ganlib("model.keras a.png b.png --out new --tile 16")
    assert code == 0
    names = [f"new/{name}{job.suffix}.png" for name in "ab"]
    assert [line.split(":")[0] for line in output.splitlines()] == names
    assert opened(tmp_path / names[0]).size == (5 * job.scale, 4 * job.scale)
    code, output, _ = ganlib("model.keras c.png --json")
    assert code == 0
    (result,) = json.loads(output)
    assert tuple(result) == job.fields
    assert result["input"] == "c.png"
    assert result["output"] == f"{job.folder}/c{job.suffix}.png"


def test_command_goes_on_after_a_failure(ganlib, tmp_path):
    cut(tmp_path / "a.png")
    code, output, errors = ganlib("model.keras a.png b.png --json")
    assert code == 1
    assert "a.png cannot be read" in errors
    first, second = json.loads(output)
    assert first["output"] is None
    assert (tmp_path / second["output"]).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("none.keras a.png", "There is no model file there"),
        ("a.png a.png", "can't be loaded as a Keras model"),
        ("model.keras a.png none.png", "There is no image file there"),
        ("model.keras a.png ./a.png", "Several images"),
        ("model.keras a.png --tile 3", "--tile"),
        ("model.keras", "IMAGE"),
    ],
)
def test_what_is_asked_for_wrongly_exits_with_2(ganlib, job, tmp_path, arguments, message):
    code, output, errors = ganlib(arguments)
    assert code == 2
    assert message in errors
    assert output == ""
    assert not (tmp_path / job.folder).exists()
