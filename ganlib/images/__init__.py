"""Images: typed value ranges, bicubic resizing, linear upscalers, and how alike two images are.

Value ranges come first: every image array that crosses a module boundary declares one.
"""

from ganlib.images.linear import apply_kernel, bicubic_kernel, fit_kernel
from ganlib.images.mistakes import RANGE_MISTAKES, check_pair
from ganlib.images.quality import compare, luma, psnr, range_mistakes, ssim
from ganlib.images.ranges import ValueRange, check_range, convert, infer_range
from ganlib.images.resize import crop_to_multiple, downscale, upscale

__all__ = [
    "RANGE_MISTAKES",
    "ValueRange",
    "apply_kernel",
    "bicubic_kernel",
    "check_pair",
    "check_range",
    "compare",
    "convert",
    "crop_to_multiple",
    "downscale",
    "fit_kernel",
    "infer_range",
    "luma",
    "psnr",
    "range_mistakes",
    "ssim",
    "upscale",
]
