"""Texture sampling: the pixels of objects that show a crop of a texture.

Texels are read directly from the memory-mapped bank, and only those that a pixel shows. Positions are integers in units of
1/65536 texel: the affine map from pixels to texels is rounded once per object and row, and the rest is integer arithmetic,
the same on every machine.

As in `synvid.raster.simd`, there is LLVM vector code for sixteen pixels at a time, and a plain loop with the same result.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, NamedTuple

import numpy as np
from numba.cpython.unsafe import numbers
from numpy.typing import NDArray

from synvid.numerics.jit import SIMD, jit
from synvid.raster.simd import address, lanes, splat

__all__ = ["MAX_BANKS", "SPARE", "VECTOR", "Crops", "fill_texels", "texel_map", "texture_offset"]


#: Pixels to allocate after a frame's last: sixteen pixels at a time are read and written back.
SPARE = 16

#: Banks that one clip can use; unused slots repeat the last bank, so that one compiled version is enough.
MAX_BANKS = 4

_ONE = 65536
_WRAP = 1 << 32
#: An object with more texels per pixel shows only the middle of its crop.
_MAX_STEP = 16384.0
_trailing_zeros: Any = numbers.trailing_zeros
_SIXTEEN = np.uint64(0xFFFF)
_BYTE = np.uint32(255)


class Crops(NamedTuple):
    """Texture crops of a scene's objects and, in the last row, of its background; n rows.

    A texture is at least 2 texels wide. Up to 2 bytes after the end of a bank are read.
    """

    banks: tuple[NDArray[np.uint8], ...]  # MAX_BANKS arrays of RGB bytes, textures one after the other
    bank: NDArray[np.int64]  # (n,): index of the bank, -1 for no texture
    size: NDArray[np.int64]  # (n,): height and width of the texture
    first: NDArray[np.int64]  # (n,): index of the texture, or of the first frame of a moving texture
    period: NDArray[np.int64]  # (n,): number of frames of the texture
    middle: NDArray[np.float64]  # (n, 2): x and y of the outline's origin in the texture, in texels
    radius: NDArray[np.float64]  # (n,): texels per unit of the outline
    tint: NDArray[np.uint32]  # (n,): packed colour that is added to every texel, clipped at 255
    nearest: bool  # nearest texel instead of bilinear interpolation


@jit
def texture_offset(crops, i, t):
    """Offset in its bank of object i's texture at frame t. A moving texture plays forwards and backwards in turn."""
    period, frame = crops.period[i], 0
    if period > 1:
        k = t % (2 * period - 2)
        frame = min(k, 2 * period - 2 - k)
    return 3 * crops.size[i] * crops.size[i] * (crops.first[i] + frame)


@jit
def texel_map(crops, i, pose):
    """The map from pixels to texels of object i: u = ux x + uy y + u0, and likewise v, in 1/65536 texel.

    Args:
        crops: crops of the scene.
        i: index of the object.
        pose: map from outline coordinates to pixels.

    Returns:
        (ux, uy, u0, vx, vy, v0): floats; ux and vx have integer values. For the pixel in row i, column j: x = j, y = i + 0.5.
    """
    a, b, x0, c, d, y0 = pose
    radius, nearest = crops.radius[i], crops.nearest
    middle_u, middle_v = crops.middle[i, 0], crops.middle[i, 1]
    area = a * d - b * c
    ux, uy, vx, vy = radius * d / area, -radius * b / area, -radius * c / area, radius * a / area
    if not (abs(ux) < _MAX_STEP and abs(uy) < _MAX_STEP and abs(vx) < _MAX_STEP and abs(vy) < _MAX_STEP):  # NaN fails, too
        ux, uy, vx, vy = 0.0, 0.0, 0.0, 0.0
    shift = 0.0 if nearest else 0.5  # texel k has its centre at k + 0.5
    u0 = middle_u - shift + ux * (0.5 - x0) - uy * y0
    v0 = middle_v - shift + vx * (0.5 - x0) - vy * y0
    return math.floor(ux * _ONE + 0.5), uy * _ONE, u0 * _ONE, math.floor(vx * _ONE + 0.5), vy * _ONE, v0 * _ONE


# ---- Sixteen pixels -----------------------------------------------------------------------------------------------
@jit
def _wrapped(number):
    """An integer wrapped around to 32 bits."""
    number &= _WRAP - 1
    return number - _WRAP if number >= _WRAP >> 1 else number


@jit
def _weights(x, y):
    """Weights of four texels in 1/256: upper left and right, lower left and right; they add up to 256."""
    right, lower = ((x & 65535) + 128) >> 8, ((y & 65535) + 128) >> 8
    both = (right * lower + 128) >> 8
    return 256 - right - lower + both, right - both, lower - both, both


@jit
def _sample_sixteen_plain(pixels, start, mask, bank, texture, stride, u_max, v_max, u, v, ux, vx, tint, nearest):
    for lane in range(16):
        if (mask >> lane) & 1:
            x = min(max(_wrapped(u + lane * ux), 0), u_max)
            y = min(max(_wrapped(v + lane * vx), 0), v_max)
            offset = texture + (y >> 16) * stride + (x >> 16) * 3
            upper_left, upper_right, lower_left, lower_right = _weights(x, y)
            color = np.uint32(0)
            for channel in range(3):
                if nearest:
                    value = np.uint32(bank[offset + channel])
                else:
                    total = upper_left * bank[offset + channel] + upper_right * bank[offset + 3 + channel] + 128
                    lower = offset + stride + channel
                    total += lower_left * bank[lower] + lower_right * bank[lower + 3]
                    value = np.uint32(total >> 8)
                shift = np.uint32(8 * channel)
                color |= min(value + ((tint >> shift) & _BYTE), _BYTE) << shift
            pixels[start + lane] = color


def _vector_sampler() -> Any:
    """Build `sample_sixteen` as LLVM vector code."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    i1, i8, i16, i32, i64 = (ir.IntType(width) for width in (1, 8, 16, 32, 64))
    sixteen, halves, bytes_of = (ir.VectorType(*kind) for kind in ((i32, 16), (i16, 32), (i8, 64)))

    def constant(vector: Any, value: int) -> Any:
        return ir.Constant(vector, [value] * vector.count)

    def clamped(builder: Any, value: Any, step: Any, maximum: Any) -> Any:
        """Value + lane * step for each lane, clipped to 0..maximum."""
        numbers = ir.Constant(sixteen, list(range(16)))
        along = builder.add(splat(builder, value, 16), builder.mul(numbers, splat(builder, step, 16)))
        above = builder.select(builder.icmp_signed(">", along, constant(sixteen, 0)), along, constant(sixteen, 0))
        limit = splat(builder, maximum, 16)
        return builder.select(builder.icmp_signed("<", above, limit), above, limit)

    def gather(builder: Any, base: Any, offsets: Any, element: Any) -> Any:
        """A vector of elements, read at byte offsets from an address."""
        count = offsets.type.count
        vector, pointers, mask = (ir.VectorType(kind, count) for kind in (element, element.as_pointer(), i1))
        kind = ir.FunctionType(vector, [pointers, i32, mask, vector])
        name = f"llvm.masked.gather.v{count}i{element.width}.v{count}p0i{element.width}"
        wide, start = builder.sext(offsets, ir.VectorType(i64, count)), builder.ptrtoint(base, i64)
        addresses = builder.inttoptr(builder.add(wide, splat(builder, start, count)), pointers)
        arguments = [addresses, ir.Constant(i32, 1), constant(mask, 1), constant(vector, 0)]
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    def neighbours(builder: Any, base: Any, offsets: Any, stride: Any) -> list[Any]:
        """Four vectors: the texels around each of sixteen points. Two texels of a row are six of eight bytes read at once."""
        texels = []
        for row in (base, builder.gep(base, [stride])):
            pairs = [
                builder.bitcast(gather(builder, row, builder.shuffle_vector(offsets, offsets, lanes(half)), i64), bytes_of)
                for half in (list(range(8)), list(range(8, 16)))
            ]
            for first in (0, 3):
                numbers = lanes([8 * (k // 4) + first + k % 4 for k in range(64)])
                texels.append(builder.bitcast(builder.shuffle_vector(*pairs, numbers), sixteen))
        return texels

    def bilinear_weights(builder: Any, x: Any, y: Any) -> list[Any]:
        """As `_weights`, with each weight in both halves of its lane."""
        rounding, eight_bits = constant(sixteen, 128), constant(sixteen, 8)
        right, lower = (
            builder.lshr(builder.add(builder.and_(position, constant(sixteen, 65535)), rounding), eight_bits)
            for position in (x, y)
        )
        both = builder.lshr(builder.add(builder.mul(right, lower), rounding), eight_bits)
        neither = builder.add(builder.sub(builder.sub(constant(sixteen, 256), right), lower), both)
        weights = [neither, builder.sub(right, both), builder.sub(lower, both), both]
        return [builder.bitcast(builder.or_(weight, builder.shl(weight, constant(sixteen, 16))), halves) for weight in weights]

    def weighted_mean(builder: Any, texels: list[Any], weights: list[Any]) -> Any:
        """The weighted mean of texels. In each half, the lower byte is red or blue, the upper is green."""
        red_blue = green = constant(halves, 128)
        for texel, weight in zip(texels, weights, strict=True):
            channels = builder.bitcast(texel, halves)
            red_blue = builder.add(red_blue, builder.mul(builder.and_(channels, constant(halves, 255)), weight))
            green = builder.add(green, builder.mul(builder.lshr(channels, constant(halves, 8)), weight))
        upper = builder.and_(green, constant(halves, 0xFF00))
        return builder.bitcast(builder.or_(builder.lshr(red_blue, constant(halves, 8)), upper), sixteen)

    def add_saturating(builder: Any, color: Any, tint: Any) -> Any:
        kind = ir.FunctionType(bytes_of, [bytes_of, bytes_of])
        add = cgutils.get_or_insert_function(builder.module, kind, "llvm.uadd.sat.v64i8")
        both = [builder.bitcast(color, bytes_of), builder.bitcast(splat(builder, tint, 16), bytes_of)]
        return builder.bitcast(builder.call(add, both), sixteen)

    @intrinsic
    def sample_sixteen(
        typing: Any, pixels: Any, start: Any, mask: Any, bank: Any, texture: Any, stride: Any,
        u_max: Any, v_max: Any, u: Any, v: Any, ux: Any, vx: Any, tint: Any, nearest: Any,
    ) -> Any:  # fmt: skip
        """As `_sample_sixteen_plain`."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[3])(context, builder, arguments[3]).data
            base = builder.gep(data, [arguments[4]])
            stride, u_max, v_max, u, v, ux, vx = (builder.trunc(number, i32) for number in arguments[5:12])
            x, y = clamped(builder, u, ux, u_max), clamped(builder, v, vx, v_max)
            whole_x, whole_y = (builder.ashr(position, constant(sixteen, 16)) for position in (x, y))
            offsets = builder.add(builder.mul(whole_y, splat(builder, stride, 16)), builder.mul(whole_x, constant(sixteen, 3)))
            result = cgutils.alloca_once(builder, sixteen)
            with builder.if_else(builder.trunc(arguments[13], i1)) as (is_nearest, is_not):
                with is_nearest:
                    builder.store(gather(builder, base, offsets, i32), result)
                with is_not:
                    texels = neighbours(builder, base, offsets, arguments[5])
                    builder.store(weighted_mean(builder, texels, bilinear_weights(builder, x, y)), result)
            color = builder.and_(builder.load(result), constant(sixteen, 0xFFFFFF))
            tinted = add_saturating(builder, color, arguments[12])
            pointer = address(context, builder, signature.args[0], arguments[0], arguments[1], sixteen)
            selected = builder.bitcast(builder.trunc(arguments[2], i16), ir.VectorType(i1, 16))
            old = builder.load(pointer)
            old.align = 4
            builder.store(builder.select(selected, tinted, old), pointer).align = 4
            return context.get_dummy_value()

        integer = types.int64
        return types.void(pixels, integer, integer, bank, *[integer] * 8, types.uint32, types.boolean), generate

    @jit
    def probe(bank, pixels):
        sample_sixteen(pixels, 0, 5, bank, 0, 6, 65535, 65535, 32768, 0, 0, 0, np.uint32(0), False)  # type: ignore[call-arg]

    bank, pixels = np.arange(0, 80, 4).astype(np.uint8), np.zeros(16, np.uint32)
    probe(bank, pixels)
    if pixels[:4].tolist() != [0x0E0A06, 0, 0x0E0A06, 0]:
        raise RuntimeError("the vector sampler gives wrong results")
    return sample_sixteen


def _choose() -> tuple[bool, Any]:
    if SIMD:
        with contextlib.suppress(Exception):  # fall back to the plain loop, whatever LLVM raises
            return True, _vector_sampler()
    return False, _sample_sixteen_plain


#: Whether the vector code is in use, and the operation.
VECTOR, _sample_sixteen = _choose()


@jit
def fill_texels(pixels, start, mask, bank, texture, size, u, v, ux, vx, tint, nearest):
    """Paint with texels those of 64 pixels whose bit in the mask is set.

    Args:
        pixels: uint32, flat; written.
        start: index of the first of the 64 pixels.
        mask: uint64, one bit per pixel.
        bank: uint8, flat.
        texture: offset of the texture in the bank.
        size: height and width of the texture.
        u, v: position of the first pixel, in 1/65536 texel; outside the texture, its edges are repeated.
        ux, vx: step from pixel to pixel.
        tint: uint32, packed colour to add.
        nearest: nearest texel instead of bilinear interpolation.
    """
    last = (size << 16) - 1 if nearest else ((size - 1) << 16) - 1  # with a neighbour to the right, if bilinear
    while mask:
        first = np.int64(_trailing_zeros(mask))  # the next sixteen pixels begin at the first set bit, without alignment
        submask = np.int64((mask >> np.uint64(first)) & _SIXTEEN)
        _sample_sixteen(
            pixels, start + first, submask, bank, texture, 3 * size, last, last,
            u + first * ux, v + first * vx, ux, vx, tint, nearest,
        )  # fmt: skip
        mask &= ~(_SIXTEEN << np.uint64(first))
