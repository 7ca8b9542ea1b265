import numpy as np
import pytest

from ganlib.images import ValueRange, check_range, convert, infer_range

BYTES = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


def test_value_range_knows_its_ends():
    ends = {value_range: (value_range.low, value_range.high) for value_range in ValueRange}
    assert ends == {"byte": (0, 255), "unit": (0, 1), "signed": (-1, 1)}
    assert ValueRange("signed") is ValueRange.SIGNED


def test_unknown_value_range_lists_the_known_ones():
    with pytest.raises(ValueError, match=r'"byte".*"unit".*"signed".*Received: .*\'percent\''):
        ValueRange("percent")


@pytest.mark.parametrize("target", ["unit", "signed"])
def test_every_byte_survives_the_round_trip(target):
    values = convert(BYTES, "byte", target)
    assert values.dtype == np.float32
    assert (values.min(), values.max()) == (ValueRange(target).low, ValueRange(target).high)
    back = convert(values, target, "byte")
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, BYTES)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_unit_and_signed_are_affine_images_of_each_other(dtype):
    unit = np.array([0.0, 0.25, 1.0, 1.5], dtype)
    signed = convert(unit, "unit", "signed")
    np.testing.assert_array_equal(signed, np.float32([-1.0, -0.5, 1.0, 2.0]))
    np.testing.assert_array_equal(convert(signed, "signed", "unit"), unit.astype("float32"))


def test_bytes_are_rounded_and_clipped():
    values = np.array([-0.2, 0.499 / 255, 0.501 / 255, 1.2])
    np.testing.assert_array_equal(convert(values, "unit", "byte"), [0, 0, 1, 255])
    np.testing.assert_array_equal(convert([-3.0, 1.6, 300.0], "byte", "byte"), [0, 2, 255])


def test_convert_leaves_its_argument_alone():
    values = np.array([0.0, 1.0], "float32")
    assert convert(values, "unit", "unit") is values
    convert(values, "unit", "signed")
    np.testing.assert_array_equal(values, [0.0, 1.0])


def test_nan_has_no_byte_value():
    with pytest.raises(ValueError, match=r"nan_to_num.*Received: 1 NaN among 2 values"):
        convert([0.5, np.nan], "unit", "byte")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], "unit"),
        ([-1.0, 0.5, 1.0], "signed"),
        ([0.0, 7.0, 255.0], "byte"),
        ([0.5, np.nan, np.inf], "unit"),
        (np.zeros(3, "uint8"), "byte"),
        (np.zeros(0, "float32"), "unit"),
    ],
)
def test_infer_range(values, expected):
    assert infer_range(np.asarray(values)) == expected


@pytest.mark.parametrize("values", [[0.0, 300.0], [0.5, 200.0], [-7.0, 1.0]])
def test_infer_range_refuses_what_fits_none(values):
    with pytest.raises(ValueError, match=r"Rescale.*Received: .*minimum=.*maximum="):
        infer_range(np.array(values))


@pytest.mark.parametrize("value_range", list(ValueRange))
def test_check_range_accepts_the_range_and_its_tolerance(value_range):
    ends = np.array([value_range.low, value_range.high])
    check_range(ends, value_range)
    slack = 0.002 * (value_range.high - value_range.low)
    with pytest.raises(ValueError, match="must lie in"):
        check_range(ends + slack, value_range)
    check_range(ends + slack, value_range, tolerance=0.01)


@pytest.mark.parametrize(
    ("values", "declared", "looks"),
    [
        ([0.0, 255.0], "unit", "byte"),
        ([0.0, 255.0], "signed", "byte"),
        ([-1.0, 1.0], "unit", "signed"),
        ([-1.0, 1.0], "byte", "signed"),
        ([0.0, 0.5, 1.0], "byte", "unit"),
    ],
)
def test_check_range_says_what_the_values_look_like(values, declared, looks):
    message = (
        rf'declared "{declared}".*look like "{looks}".*convert\(images, "{looks}", "{declared}"\)'
        rf".*Received: minimum={values[0]:g}, maximum={values[-1]:g}"
    )
    with pytest.raises(ValueError, match=message):
        check_range(np.array(values), declared)


def test_check_range_accepts_black_byte_images():
    check_range(np.zeros((2, 2)), "byte")
    check_range(np.array([0.0, 1.0]), "byte")
    check_range(np.ones((2, 2), "uint8"), "byte")


def test_check_range_on_values_that_fit_no_range():
    with pytest.raises(ValueError, match=r"fit no range.*rescale.*minimum=-700, maximum=1000"):
        check_range(np.array([-700.0, 1000.0]), "unit")


@pytest.mark.parametrize(("value_range", "values"), [("unit", [-0.1, 1.4]), ("signed", [-1.2, 1])])
def test_check_range_knows_an_overshoot_from_another_range(value_range, values):
    with pytest.raises(ValueError, match=r"overshoot.*np\.clip\(images, (0|-1), 1\).*Received"):
        check_range(np.array(values), value_range)


def test_check_range_on_nan_and_on_nothing():
    with pytest.raises(ValueError, match=r"isfinite.*Received: minimum=nan"):
        check_range(np.array([0.0, np.nan]), "unit")
    with pytest.raises(ValueError, match=r"no values.*Received: shape=\(0, 28\)"):
        check_range(np.zeros((0, 28)), "unit")
