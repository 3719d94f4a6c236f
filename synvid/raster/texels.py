"""Textures under the rasterizer: a crop of a texture, attached to an object, and the pixels that its runs become.

A crop is a rectangle of texels, one uint32 each as in the frame, copied into an *atlas* when its object first owns a pixel,
so only textures that can be seen are touched. Positions in it are whole numbers of 1/65536 texel: the affine map from pixels
to texels is rounded once an object and row, and all that follows is integer arithmetic, the same on every machine.

As in `synvid.raster.simd`, sixteen pixels at a time are LLVM vector code with a plain form of the same result.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid._jit import SIMD, jit
from synvid.raster.simd import address, splat

__all__ = ["MAX_BANKS", "VECTOR", "Crops", "fill_texels", "load_crop", "texel_map"]

#: Banks that one clip can use; unused places repeat the first, so that there is one compiled form.
MAX_BANKS = 4

_ONE = 65536
_WRAP = 1 << 32
#: An object that squeezes more texels than this into a pixel shows the middle of its crop.
_MOST = 16384.0
_RED_BLUE, _GREEN = np.uint32(0x00FF00FF), np.uint32(0x0000FF00)
_HALF = np.uint32(0x00800080)
_8, _BYTE, _WHOLE = np.uint32(8), np.uint32(255), np.uint32(256)


class Crops(NamedTuple):
    """What the objects of a scene, and its background in the last row, are cut from; n rows."""

    banks: tuple[NDArray[np.uint8], ...]  # MAX_BANKS of (textures, size, size, 3)
    bank: NDArray[np.int64]  # (n,), -1 where there is no texture
    first: NDArray[np.int64]  # (n,): the texture, or the first frame of a texture that moves
    period: NDArray[np.int64]  # (n,): frames of the texture
    corner: NDArray[np.int64]  # (n, 2): x and y of the crop's first texel, which may lie outside the texture
    extent: NDArray[np.int64]  # (n, 2): its width and height in texels
    place: NDArray[np.int64]  # (n + 1,): where it begins in the atlas, and the length of that
    middle: NDArray[np.float64]  # (n, 2): the outline's origin, in texels from the corner of the crop
    radius: NDArray[np.float64]  # (n,): texels in a unit of the outline
    tint: NDArray[np.uint32]  # (n,): added to every texel, saturating
    nearest: bool  # the nearest texel, instead of a mean of four


# ---- From a bank to the atlas -------------------------------------------------------------------------------------
@jit
def _frame_of(period, t):
    """Where in a texture of so many frames time t is: to its end and back again."""
    if period == 1:
        return 0
    k = t % (2 * period - 2)
    return min(k, 2 * period - 2 - k)


@jit
def _copy_crop(texture, x0, y0, width, height, atlas, place):
    """Copy a rectangle of a texture (size, size, 3), its edges repeated where it reaches outside."""
    size = texture.shape[0]
    left, right = min(max(-x0, 0), width), min(max(size - x0, 0), width)
    for row in range(height):
        y = min(max(y0 + row, 0), size - 1)
        to = place + row * width
        for k in range(left, right):
            x = x0 + k
            red, green, blue = np.uint32(texture[y, x, 0]), np.uint32(texture[y, x, 1]), np.uint32(texture[y, x, 2])
            atlas[to + k] = red | green << np.uint32(8) | blue << np.uint32(16)
        for k in range(left):
            atlas[to + k] = atlas[to + left]
        for k in range(right, width):
            atlas[to + k] = atlas[to + right - 1]


@jit
def load_crop(crops, i, t, atlas, loaded):
    """See that the crop of object i at frame t is in the atlas.

    Args:
        crops: of the scene.
        i: the object.
        t: the frame.
        atlas: uint32, of `crops.place[-1]` texels.
        loaded: int64 (n,), which of its frames the atlas holds of each object, -1 for none; kept up to date.
    """
    frame = _frame_of(crops.period[i], t)
    if loaded[i] != frame:
        loaded[i] = frame
        texture = crops.banks[crops.bank[i]][crops.first[i] + frame]
        width, height = crops.extent[i, 0], crops.extent[i, 1]
        _copy_crop(texture, crops.corner[i, 0], crops.corner[i, 1], width, height, atlas, crops.place[i])


@jit
def texel_map(crops, i, pose):
    """The map from pixels to texels of object i: x -> u = ux x + uy y + u0, v likewise, in 1/65536 texel, y a row's centre.

    Args:
        crops: of the scene.
        i: the object.
        pose: outline to pixels.

    Returns:
        (ux, uy, u0, vx, vy, v0): ux and vx are whole numbers; pixel x of row i is at x, its row at i + 0.5.
    """
    a, b, x0, c, d, y0 = pose
    radius, nearest = crops.radius[i], crops.nearest
    middle_u, middle_v = crops.middle[i, 0], crops.middle[i, 1]
    area = a * d - b * c
    ux, uy, vx, vy = radius * d / area, -radius * b / area, -radius * c / area, radius * a / area
    if not (abs(ux) < _MOST and abs(uy) < _MOST and abs(vx) < _MOST and abs(vy) < _MOST):  # NaN fails too
        ux, uy, vx, vy = 0.0, 0.0, 0.0, 0.0
    shift = 0.0 if nearest else 0.5  # texel k has its centre at k + 0.5
    u0 = middle_u - shift + ux * (0.5 - x0) - uy * y0
    v0 = middle_v - shift + vx * (0.5 - x0) - vy * y0
    return math.floor(ux * _ONE + 0.5), uy * _ONE, u0 * _ONE, math.floor(vx * _ONE + 0.5), vy * _ONE, v0 * _ONE


# ---- Sixteen pixels -----------------------------------------------------------------------------------------------
@jit
def _wrapped(number):
    """A whole number as int32 arithmetic has it."""
    number &= _WRAP - 1
    return number - _WRAP if number >= _WRAP >> 1 else number


@jit
def _blend(one, other, share):
    """(one (256 - share) + other share) / 256 of every byte, rounded to the nearest."""
    rest = _WHOLE - share
    red_blue = ((one & _RED_BLUE) * rest + (other & _RED_BLUE) * share + _HALF) >> _8
    green = ((one >> _8) & _BYTE) * rest + ((other >> _8) & _BYTE) * share + np.uint32(128)
    return (red_blue & _RED_BLUE) | (green & _GREEN)


@jit
def _add_saturating(one, other):
    """The sum of the bytes of two colours, at most 255 each."""
    total = np.uint32(0)
    for shift in range(0, 24, 8):
        by = np.uint32(shift)
        total |= min(((one >> by) & _BYTE) + ((other >> by) & _BYTE), _BYTE) << by
    return total


@jit
def _sample_sixteen_plain(pixels, start, mask, atlas, place, stride, u_most, v_most, u, v, ux, vx, tint, nearest):
    for lane in range(16):
        if (mask >> lane) & 1:
            x = min(max(_wrapped(u + lane * ux), 0), u_most)
            y = min(max(_wrapped(v + lane * vx), 0), v_most)
            texel = place + (y >> 16) * stride + (x >> 16)
            color = atlas[texel]
            if not nearest:
                share_x, share_y = np.uint32((x >> 8) & 255), np.uint32((y >> 8) & 255)
                left = _blend(color, atlas[texel + stride], share_y)
                right = _blend(atlas[texel + 1], atlas[texel + stride + 1], share_y)
                color = _blend(left, right, share_x)
            pixels[start + lane] = _add_saturating(color, tint)


def _vector_sampler() -> Any:
    """Build `sample_sixteen` as LLVM vector code."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    i1, i8, i16, i32, i64 = (ir.IntType(width) for width in (1, 8, 16, 32, 64))
    sixteen, pairs = ir.VectorType(i32, 16), ir.VectorType(i64, 16)
    halves = ir.VectorType(i16, 32)

    def constant(vector: Any, value: int) -> Any:
        return ir.Constant(vector, [value] * vector.count)

    def call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    def gather(builder: Any, base: Any, texels: Any, vector: Any) -> Any:
        """Elements of a vector at base + 4 texels."""
        offsets = builder.shl(builder.sext(texels, pairs), constant(pairs, 2))
        addresses = builder.add(splat(builder, builder.ptrtoint(base, i64), 16), offsets)
        pointers = builder.inttoptr(addresses, ir.VectorType(ir.PointerType(i8), 16))
        every = constant(ir.VectorType(i1, 16), 1)
        name = f"llvm.masked.gather.v16i{vector.element.width}.v16p0"
        return call(builder, name, vector, [pointers, ir.Constant(i32, 4), every, constant(vector, 0)])

    def blend(builder: Any, one: Any, other: Any, share: Any) -> Any:
        """As `_blend`, of sixteen colours; `share` is a number of 0..255 in every half of a lane."""
        rest, rounding = builder.sub(constant(halves, 256), share), constant(halves, 128)
        mixed = []
        for shift in (0, 8):
            a, b = (
                builder.bitcast(
                    builder.and_(builder.lshr(color, constant(sixteen, shift)), constant(sixteen, 0x00FF00FF)), halves
                )
                for color in (one, other)
            )
            total = builder.add(builder.add(builder.mul(a, rest), builder.mul(b, share)), rounding)
            mixed.append(builder.bitcast(builder.lshr(total, constant(halves, 8)), sixteen))
        return builder.or_(mixed[0], builder.shl(mixed[1], constant(sixteen, 8)))

    def share_of(builder: Any, position: Any) -> Any:
        fraction = builder.and_(builder.lshr(position, constant(sixteen, 8)), constant(sixteen, 255))
        return builder.bitcast(builder.or_(fraction, builder.shl(fraction, constant(sixteen, 16))), halves)

    def clamped(builder: Any, value: Any, step: Any, most: Any) -> Any:
        numbers = ir.Constant(sixteen, list(range(16)))
        along = builder.add(splat(builder, value, 16), builder.mul(numbers, splat(builder, step, 16)))
        above = builder.select(builder.icmp_signed(">", along, constant(sixteen, 0)), along, constant(sixteen, 0))
        limit = splat(builder, most, 16)
        return builder.select(builder.icmp_signed("<", above, limit), above, limit)

    def texels_at(builder: Any, base: Any, texels: Any, stride: Any) -> tuple[Any, Any, Any, Any]:
        """The four texels around: upper left and right, lower left and right."""
        found = []
        for row in (texels, builder.add(texels, splat(builder, stride, 16))):
            both = gather(builder, base, row, pairs)
            found += [builder.trunc(both, sixteen), builder.trunc(builder.lshr(both, constant(pairs, 32)), sixteen)]
        return found[0], found[1], found[2], found[3]

    @intrinsic
    def sample_sixteen(
        typing: Any, pixels: Any, start: Any, mask: Any, atlas: Any, place: Any, stride: Any,
        u_most: Any, v_most: Any, u: Any, v: Any, ux: Any, vx: Any, tint: Any, nearest: Any,
    ) -> Any:  # fmt: skip
        """pixels[start + k] = the texel at (u + k ux, v + k vx) plus the tint, wherever bit k of mask is set."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[3])(context, builder, arguments[3]).data
            base = builder.gep(data, [arguments[4]])
            wide = arguments[5:12]
            stride, u_most, v_most, u, v, ux, vx = (builder.trunc(number, i32) for number in wide)
            x, y = clamped(builder, u, ux, u_most), clamped(builder, v, vx, v_most)
            rows = builder.mul(builder.ashr(y, constant(sixteen, 16)), splat(builder, stride, 16))
            texels = builder.add(rows, builder.ashr(x, constant(sixteen, 16)))
            result = cgutils.alloca_once(builder, sixteen)
            with builder.if_else(builder.trunc(arguments[13], i1)) as (is_nearest, is_not):
                with is_nearest:
                    builder.store(gather(builder, base, texels, sixteen), result)
                with is_not:
                    up_left, up_right, low_left, low_right = texels_at(builder, base, texels, stride)
                    share_x, share_y = share_of(builder, x), share_of(builder, y)
                    left, right = blend(builder, up_left, low_left, share_y), blend(builder, up_right, low_right, share_y)
                    builder.store(blend(builder, left, right, share_x), result)
            bytes_of = ir.VectorType(i8, 64)
            color = builder.bitcast(builder.load(result), bytes_of)
            tints = builder.bitcast(splat(builder, arguments[12], 16), bytes_of)
            tinted = builder.bitcast(call(builder, "llvm.uadd.sat.v64i8", bytes_of, [color, tints]), sixteen)
            where = address(context, builder, signature.args[0], arguments[0], arguments[1], sixteen)
            chosen = builder.bitcast(builder.trunc(arguments[2], i16), ir.VectorType(i1, 16))
            old = builder.load(where)
            old.align = 4
            builder.store(builder.select(chosen, tinted, old), where).align = 4
            return context.get_dummy_value()

        whole = types.int64
        numbers = (whole, whole, whole, whole, whole, whole, whole, whole)
        return types.void(pixels, whole, whole, atlas, *numbers, types.uint32, types.boolean), generate

    @jit
    def probe(pixels, atlas):
        sample_sixteen(pixels, 0, 5, atlas, 0, 2, 65535, 65535, 32768, 0, 0, 0, np.uint32(0x0A000000), False)  # type: ignore[call-arg]

    atlas = np.zeros(4, np.uint32)
    atlas[1] = 0x00020406
    pixels = np.zeros(16, np.uint32)
    probe(pixels, atlas)
    if [int(color) & 0xFFFFFF for color in pixels[:4]] != [0x010203, 0, 0x010203, 0]:
        raise RuntimeError("the vector sampler gives wrong results")
    return sample_sixteen


def _choose() -> tuple[bool, Any]:
    if SIMD:
        with contextlib.suppress(Exception):  # whatever LLVM cannot do here, the plain loop can
            return True, _vector_sampler()
    return False, _sample_sixteen_plain


#: Whether the vector path is in use, and the operation.
VECTOR, _sample_sixteen = _choose()


@jit
def fill_texels(pixels, start, mask, atlas, place, extent_x, extent_y, u, v, ux, vx, tint, nearest):
    """Paint those of 64 pixels whose bit is set with texels of a crop.

    Args:
        pixels: uint32, flat; written.
        start: the first of the 64 pixels.
        mask: uint64.
        atlas, place: where the crop begins.
        extent_x, extent_y: its width and height.
        u, v: the position of the first pixel, 1/65536 texel.
        ux, vx: from pixel to pixel.
        tint: uint32.
        nearest: see `Crops`.
    """
    u_most, v_most = ((extent_x - 1) << 16) - 1, ((extent_y - 1) << 16) - 1
    for part in range(4):
        some = np.int64((mask >> np.uint64(16 * part)) & np.uint64(0xFFFF))
        if some:
            along = 16 * part
            _sample_sixteen(
                pixels, start + along, some, atlas, place, extent_x, u_most, v_most,
                u + along * ux, v + along * vx, ux, vx, tint, nearest,
            )  # fmt: skip
