"""Textures under the rasterizer: a crop of a texture, attached to an object, and the pixels that its runs become.

Texels are read where they lie, in the memory-mapped bank, and only those that a pixel shows. Positions are whole numbers of
1/65536 texel: the affine map from pixels to texels is rounded once an object and row, and all that follows is integer
arithmetic, the same on every machine.

As in `synvid.raster.simd`, sixteen pixels at a time are LLVM vector code with a plain form of the same result.
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

__all__ = ["MAX_BANKS", "SPARE", "VECTOR", "Crops", "fill_texels", "texel_map", "texture_at"]


#: Pixels that a frame must have room for beyond its last: sixteen at a time are read and written back.
SPARE = 16

#: Banks that one clip can use; unused places repeat the last, so that there is one compiled form.
MAX_BANKS = 4

_ONE = 65536
_WRAP = 1 << 32
#: An object that squeezes more texels than this into a pixel shows the middle of its crop.
_MOST = 16384.0
_trailing_zeros: Any = numbers.trailing_zeros
_SIXTEEN = np.uint64(0xFFFF)
_BYTE = np.uint32(255)


class Crops(NamedTuple):
    """What the objects of a scene, and its background in the last row, are cut from; n rows.

    A texture is at least 2 texels wide, and 8 bytes behind a bank's last may be read.
    """

    banks: tuple[NDArray[np.uint8], ...]  # MAX_BANKS of textures of RGB bytes, one behind the other
    bank: NDArray[np.int64]  # (n,), -1 where there is no texture
    size: NDArray[np.int64]  # (n,): height and width of the texture
    first: NDArray[np.int64]  # (n,): the number of the texture, or of the first frame of a texture that moves
    period: NDArray[np.int64]  # (n,): frames of the texture
    middle: NDArray[np.float64]  # (n, 2): where in the texture the outline's origin is, x and y in texels
    radius: NDArray[np.float64]  # (n,): texels in a unit of the outline
    tint: NDArray[np.uint32]  # (n,): added to every texel, saturating
    nearest: bool  # the nearest texel, instead of a mean of four


@jit
def texture_at(crops, i, t):
    """Where in its bank the texture of object i begins at frame t; one that moves plays to its end and back again."""
    period, frame = crops.period[i], 0
    if period > 1:
        k = t % (2 * period - 2)
        frame = min(k, 2 * period - 2 - k)
    return 3 * crops.size[i] * crops.size[i] * (crops.first[i] + frame)


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
def _weights(x, y):
    """Shares of four texels in 1/256, upper left and right, lower left and right; they add up to 256."""
    right, lower = ((x & 65535) + 128) >> 8, ((y & 65535) + 128) >> 8
    both = (right * lower + 128) >> 8
    return 256 - right - lower + both, right - both, lower - both, both


@jit
def _sample_sixteen_plain(pixels, start, mask, bank, texture, stride, u_most, v_most, u, v, ux, vx, tint, nearest):
    for lane in range(16):
        if (mask >> lane) & 1:
            x = min(max(_wrapped(u + lane * ux), 0), u_most)
            y = min(max(_wrapped(v + lane * vx), 0), v_most)
            at = texture + (y >> 16) * stride + (x >> 16) * 3
            one, two, three, four = _weights(x, y)
            color = np.uint32(0)
            for channel in range(3):
                if nearest:
                    value = np.uint32(bank[at + channel])
                else:
                    total = one * bank[at + channel] + two * bank[at + 3 + channel] + 128
                    total += three * bank[at + stride + channel] + four * bank[at + stride + 3 + channel]
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

    def clamped(builder: Any, value: Any, step: Any, most: Any) -> Any:
        """Numbers value + lane step, from 0 to most."""
        numbers = ir.Constant(sixteen, list(range(16)))
        along = builder.add(splat(builder, value, 16), builder.mul(numbers, splat(builder, step, 16)))
        above = builder.select(builder.icmp_signed(">", along, constant(sixteen, 0)), along, constant(sixteen, 0))
        limit = splat(builder, most, 16)
        return builder.select(builder.icmp_signed("<", above, limit), above, limit)

    def gather(builder: Any, base: Any, offsets: Any, element: Any) -> Any:
        """Elements at offsets, in bytes and as long as they, from an address."""
        count = offsets.type.count
        vector, pointers, mask = (ir.VectorType(kind, count) for kind in (element, element.as_pointer(), i1))
        kind = ir.FunctionType(vector, [pointers, i32, mask, vector])
        name = f"llvm.masked.gather.v{count}i{element.width}.v{count}p0i{element.width}"
        wide, start = builder.sext(offsets, ir.VectorType(i64, count)), builder.ptrtoint(base, i64)
        places = builder.inttoptr(builder.add(wide, splat(builder, start, count)), pointers)
        arguments = [places, ir.Constant(i32, 1), constant(mask, 1), constant(vector, 0)]
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    def corners(builder: Any, base: Any, offsets: Any, stride: Any) -> list[Any]:
        """The four texels around sixteen points, a vector each: those of a row are six bytes of eight."""
        found = []
        for row in (base, builder.gep(base, [stride])):
            pairs = [
                builder.bitcast(gather(builder, row, builder.shuffle_vector(offsets, offsets, lanes(half)), i64), bytes_of)
                for half in (list(range(8)), list(range(8, 16)))
            ]
            for first in (0, 3):
                numbers = lanes([8 * (k // 4) + first + k % 4 for k in range(64)])
                found.append(builder.bitcast(builder.shuffle_vector(*pairs, numbers), sixteen))
        return found

    def weights(builder: Any, x: Any, y: Any) -> list[Any]:
        """As `_weights`; each number stands in both halves of its lane."""
        rounding, eight_bits = constant(sixteen, 128), constant(sixteen, 8)
        right, lower = (
            builder.lshr(builder.add(builder.and_(position, constant(sixteen, 65535)), rounding), eight_bits)
            for position in (x, y)
        )
        both = builder.lshr(builder.add(builder.mul(right, lower), rounding), eight_bits)
        neither = builder.add(builder.sub(builder.sub(constant(sixteen, 256), right), lower), both)
        shares = [neither, builder.sub(right, both), builder.sub(lower, both), both]
        return [builder.bitcast(builder.or_(share, builder.shl(share, constant(sixteen, 16))), halves) for share in shares]

    def mean(builder: Any, texels: list[Any], shares: list[Any]) -> Any:
        """The weighted mean: red and blue are the lower bytes of halves, green the upper."""
        red_blue = green = constant(halves, 128)
        for texel, share in zip(texels, shares, strict=True):
            two = builder.bitcast(texel, halves)
            red_blue = builder.add(red_blue, builder.mul(builder.and_(two, constant(halves, 255)), share))
            green = builder.add(green, builder.mul(builder.lshr(two, constant(halves, 8)), share))
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
        u_most: Any, v_most: Any, u: Any, v: Any, ux: Any, vx: Any, tint: Any, nearest: Any,
    ) -> Any:  # fmt: skip
        """As `_sample_sixteen_plain`."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[3])(context, builder, arguments[3]).data
            base = builder.gep(data, [arguments[4]])
            stride, u_most, v_most, u, v, ux, vx = (builder.trunc(number, i32) for number in arguments[5:12])
            x, y = clamped(builder, u, ux, u_most), clamped(builder, v, vx, v_most)
            whole_x, whole_y = (builder.ashr(position, constant(sixteen, 16)) for position in (x, y))
            offsets = builder.add(builder.mul(whole_y, splat(builder, stride, 16)), builder.mul(whole_x, constant(sixteen, 3)))
            result = cgutils.alloca_once(builder, sixteen)
            with builder.if_else(builder.trunc(arguments[13], i1)) as (is_nearest, is_not):
                with is_nearest:
                    builder.store(gather(builder, base, offsets, i32), result)
                with is_not:
                    texels = corners(builder, base, offsets, arguments[5])
                    builder.store(mean(builder, texels, weights(builder, x, y)), result)
            color = builder.and_(builder.load(result), constant(sixteen, 0xFFFFFF))
            tinted = add_saturating(builder, color, arguments[12])
            where = address(context, builder, signature.args[0], arguments[0], arguments[1], sixteen)
            chosen = builder.bitcast(builder.trunc(arguments[2], i16), ir.VectorType(i1, 16))
            old = builder.load(where)
            old.align = 4
            builder.store(builder.select(chosen, tinted, old), where).align = 4
            return context.get_dummy_value()

        whole = types.int64
        return types.void(pixels, whole, whole, bank, *[whole] * 8, types.uint32, types.boolean), generate

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
        with contextlib.suppress(Exception):  # whatever LLVM cannot do here, the plain loop can
            return True, _vector_sampler()
    return False, _sample_sixteen_plain


#: Whether the vector path is in use, and the operation.
VECTOR, _sample_sixteen = _choose()


@jit
def fill_texels(pixels, start, mask, bank, texture, size, u, v, ux, vx, tint, nearest):
    """Paint those of 64 pixels whose bit is set with texels.

    Args:
        pixels: uint32, flat; written.
        start: the first of the 64 pixels.
        mask: uint64.
        bank, texture: bytes, and where in them the texture begins.
        size: its height and width.
        u, v: the position of the first pixel, 1/65536 texel; beyond the texture its edges are repeated.
        ux, vx: from pixel to pixel.
        tint: uint32.
        nearest: see `Crops`.
    """
    most = (size << 16) - 1 if nearest else ((size - 1) << 16) - 1  # the last position with a neighbour, all but there
    while mask:
        first = np.int64(_trailing_zeros(mask))  # sixteen pixels from the first on, wherever they lie
        some = np.int64((mask >> np.uint64(first)) & _SIXTEEN)
        _sample_sixteen(
            pixels, start + first, some, bank, texture, 3 * size, most, most,
            u + first * ux, v + first * vx, ux, vx, tint, nearest,
        )  # fmt: skip
        mask &= ~(_SIXTEEN << np.uint64(first))
