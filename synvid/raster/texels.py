"""Textures under the rasterizer: a crop of a texture, attached to an object, and the pixels that its runs become.

A crop is copied into an *atlas* when its object first owns a pixel, so only textures that can be seen are touched. There,
each texel is a *quad*: itself and its neighbours to the right, below and both, one uint32 each as in the frame, so that all
that a pixel needs is one load of 16 bytes. Positions are whole numbers of 1/65536 texel: the affine map from pixels to texels
is rounded once an object and row, and all that follows is integer arithmetic, the same on every machine.

As in `synvid.raster.simd`, sixteen pixels at a time are LLVM vector code with a plain form of the same result.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, NamedTuple

import numpy as np
from numba.cpython.unsafe import numbers
from numpy.typing import NDArray

from synvid._jit import SIMD, jit
from synvid.raster.simd import address, lanes, splat

__all__ = ["MAX_BANKS", "SPARE", "VECTOR", "Crops", "fill_texels", "load_crop", "texel_map"]

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
    """What the objects of a scene, and its background in the last row, are cut from; n rows."""

    banks: tuple[NDArray[np.uint8], ...]  # MAX_BANKS of textures of RGB bytes, one behind the other
    bank: NDArray[np.int64]  # (n,), -1 where there is no texture
    size: NDArray[np.int64]  # (n,): height and width of the texture
    first: NDArray[np.int64]  # (n,): the number of the texture, or of the first frame of a texture that moves
    period: NDArray[np.int64]  # (n,): frames of the texture
    corner: NDArray[np.int64]  # (n, 2): x and y of the crop's first texel, which may lie outside the texture
    extent: NDArray[np.int64]  # (n, 2): its width and height in quads
    place: NDArray[np.int64]  # (n + 1,): the quad of the atlas where it begins, and how many there are
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
def _texel(bank, at):
    return np.uint32(bank[at]) | np.uint32(bank[at + 1]) << np.uint32(8) | np.uint32(bank[at + 2]) << np.uint32(16)


@jit
def _make_sixteen_quads_plain(bank, upper, lower, atlas, quad):
    for k in range(16):
        one, other, to = upper + 3 * k, lower + 3 * k, 4 * (quad + k)
        atlas[to], atlas[to + 1] = _texel(bank, one), _texel(bank, one + 3)
        atlas[to + 2], atlas[to + 3] = _texel(bank, other), _texel(bank, other + 3)


@jit
def _copy_crop(bank, texture, size, x0, y0, width, height, atlas, place):
    """Copy a rectangle of the texture that begins at bank[texture] as quads; edges are repeated where it reaches outside."""
    most = size - 1
    for row in range(height):
        upper = texture + 3 * size * min(max(y0 + row, 0), most)
        lower = texture + 3 * size * min(max(y0 + row + 1, 0), most)
        quad, k = place + row * width, 0
        while k < width:
            if k >= 16 and width - 16 < k and 16 - width <= x0 <= most - width:
                k = width - 16  # the last sixteen, some of them once more
            left = x0 + k
            if left >= 0 and left + 16 <= most and k + 16 <= width:
                _make_sixteen_quads(bank, upper + 3 * left, lower + 3 * left, atlas, quad + k)
                k += 16
            else:
                one, other = 3 * min(max(left, 0), most), 3 * min(max(left + 1, 0), most)
                to = 4 * (quad + k)
                atlas[to], atlas[to + 1] = _texel(bank, upper + one), _texel(bank, upper + other)
                atlas[to + 2], atlas[to + 3] = _texel(bank, lower + one), _texel(bank, lower + other)
                k += 1


@jit
def load_crop(crops, i, t, atlas, loaded):
    """See that the crop of object i at frame t is in the atlas.

    Args:
        crops: of the scene.
        i: the object.
        t: the frame.
        atlas: uint32, of `crops.place[-1]` quads.
        loaded: int64 (n,), which of its frames the atlas holds of each object, -1 for none; kept up to date.
    """
    frame = _frame_of(crops.period[i], t)
    if loaded[i] != frame:
        loaded[i] = frame
        size = crops.size[i]
        texture = 3 * size * size * (crops.first[i] + frame)
        x0, y0, width, height = crops.corner[i, 0], crops.corner[i, 1], crops.extent[i, 0], crops.extent[i, 1]
        _copy_crop(crops.banks[crops.bank[i]], texture, size, x0, y0, width, height, atlas, crops.place[i])


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
    """Shares of a quad's four texels in 1/256; they add up to 256."""
    right, lower = (x >> 8) & 255, (y >> 8) & 255
    both = (right * lower + 128) >> 8
    return 256 - right - lower + both, right - both, lower - both, both


@jit
def _mean_of_quad(atlas, quad, weights):
    """The weighted mean of a quad's texels, rounded to the nearest."""
    color = np.uint32(0)
    for shift in range(0, 24, 8):
        by = np.uint32(shift)
        total = np.int64(128)
        for k in range(4):
            total += np.int64((atlas[quad + k] >> by) & _BYTE) * weights[k]
        color |= np.uint32(total >> 8) << by
    return color


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
            quad = 4 * (place + (y >> 16) * stride + (x >> 16))
            color = atlas[quad] if nearest else _mean_of_quad(atlas, quad, _weights(x, y))
            pixels[start + lane] = _add_saturating(color, tint)


def _vector_operations() -> tuple[Any, Any]:
    """Build `make_sixteen_quads` and `sample_sixteen` as LLVM vector code."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    i1, i8, i16, i32, i64 = (ir.IntType(width) for width in (1, 8, 16, 32, 64))
    sixteen, halves, quad = ir.VectorType(i32, 16), ir.VectorType(i16, 32), ir.VectorType(i32, 4)

    def constant(vector: Any, value: int) -> Any:
        return ir.Constant(vector, [value] * vector.count)

    def call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    def clamped(builder: Any, value: Any, step: Any, most: Any) -> Any:
        """Value + lane step, from 0 to most."""
        numbers = ir.Constant(sixteen, list(range(16)))
        along = builder.add(splat(builder, value, 16), builder.mul(numbers, splat(builder, step, 16)))
        above = builder.select(builder.icmp_signed(">", along, constant(sixteen, 0)), along, constant(sixteen, 0))
        limit = splat(builder, most, 16)
        return builder.select(builder.icmp_signed("<", above, limit), above, limit)

    def quad_pointers(builder: Any, base: Any, quads: Any) -> list[Any]:
        """Where the quad of every lane lies."""
        wide = builder.shl(builder.sext(quads, ir.VectorType(i64, 16)), constant(ir.VectorType(i64, 16), 2))
        offsets = [builder.extract_element(wide, ir.Constant(i32, lane)) for lane in range(16)]
        return [builder.gep(base, [offset]) for offset in offsets]

    def load(builder: Any, pointer: Any, vector: Any) -> Any:
        value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
        value.align = 4
        return value

    def corners(builder: Any, pointers: list[Any]) -> list[Any]:
        """Load sixteen quads and sort their texels into four vectors: a transposition of 4 x 4 in each group of lanes."""
        groups = []
        for k in range(4):  # lanes k, k + 4, k + 8, k + 12 side by side, so that the transposed ones are in order
            quads = [load(builder, pointers[k + 4 * lane], quad) for lane in range(4)]
            eights = [builder.shuffle_vector(quads[j], quads[j + 1], lanes(list(range(8)))) for j in (0, 2)]
            groups.append(builder.shuffle_vector(*eights, lanes(list(range(16)))))

        def interleave(one: Any, other: Any, pattern: tuple[int, ...]) -> Any:
            numbers = [4 * lane + p % 4 + 16 * (p // 4) for lane in range(4) for p in pattern]
            return builder.shuffle_vector(one, other, lanes(numbers))

        low, high = (0, 4, 1, 5), (2, 6, 3, 7)
        first, second = (0, 1, 4, 5), (2, 3, 6, 7)
        sorted_ = []
        for half in (low, high):
            one, other = (interleave(groups[k], groups[k + 1], half) for k in (0, 2))
            sorted_ += [interleave(one, other, first), interleave(one, other, second)]
        return sorted_

    def weights(builder: Any, x: Any, y: Any) -> list[Any]:
        """As `_weights`; each number stands in both halves of its lane."""
        byte = constant(sixteen, 255)
        right, lower = (builder.and_(builder.lshr(position, constant(sixteen, 8)), byte) for position in (x, y))
        both = builder.lshr(builder.add(builder.mul(right, lower), constant(sixteen, 128)), constant(sixteen, 8))
        neither = builder.add(builder.sub(builder.sub(constant(sixteen, 256), right), lower), both)
        shares = [neither, builder.sub(right, both), builder.sub(lower, both), both]
        return [builder.bitcast(builder.or_(share, builder.shl(share, constant(sixteen, 16))), halves) for share in shares]

    def mean(builder: Any, texels: list[Any], shares: list[Any]) -> Any:
        """As `_mean_of_quad`, of sixteen quads: red and blue are the lower bytes of halves, green the upper."""
        red_blue = green = constant(halves, 128)
        for texel, share in zip(texels, shares, strict=True):
            two = builder.bitcast(texel, halves)
            red_blue = builder.add(red_blue, builder.mul(builder.and_(two, constant(halves, 255)), share))
            green = builder.add(green, builder.mul(builder.lshr(two, constant(halves, 8)), share))
        upper = builder.and_(green, ir.Constant(halves, [0xFF00] * 32))
        return builder.bitcast(builder.or_(builder.lshr(red_blue, constant(halves, 8)), upper), sixteen)

    def zipped(builder: Any, one: Any, other: Any, step: int) -> Any:
        """Lanes of two vectors by turns, `step` at a time."""
        count = one.type.count
        numbers = [lane + part * count for k in range(0, count, step) for part in (0, 1) for lane in range(k, k + step)]
        return builder.shuffle_vector(one, other, lanes(numbers))

    @intrinsic
    def make_sixteen_quads(typing: Any, bank: Any, upper: Any, lower: Any, atlas: Any, quad: Any) -> Any:
        """As `_make_sixteen_quads_plain`."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            narrow = ir.VectorType(i8, 48)
            spread = lanes([48 if k % 4 == 3 else 3 * (k // 4) + k % 4 for k in range(64)])

            def texels(at: Any, beyond: int) -> Any:
                place = builder.add(at, ir.Constant(i64, beyond))
                rgb = builder.load(address(context, builder, signature.args[0], arguments[0], place, narrow))
                rgb.align = 1
                return builder.bitcast(builder.shuffle_vector(rgb, constant(narrow, 0), spread), sixteen)

            up, low = (zipped(builder, texels(at, 0), texels(at, 3), 1) for at in arguments[1:3])
            quads = zipped(builder, up, low, 2)
            first = builder.shl(arguments[4], ir.Constant(i64, 2))
            builder.store(quads, address(context, builder, signature.args[3], arguments[3], first, quads.type)).align = 4
            return context.get_dummy_value()

        return types.void(bank, types.int64, types.int64, atlas, types.int64), generate

    @intrinsic
    def sample_sixteen(
        typing: Any, pixels: Any, start: Any, mask: Any, atlas: Any, place: Any, stride: Any,
        u_most: Any, v_most: Any, u: Any, v: Any, ux: Any, vx: Any, tint: Any, nearest: Any,
    ) -> Any:  # fmt: skip
        """pixels[start + k] = the texel at (u + k ux, v + k vx) plus the tint, wherever bit k of mask is set."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[3])(context, builder, arguments[3]).data
            base = builder.gep(data, [builder.shl(arguments[4], ir.Constant(i64, 2))])
            wide = arguments[5:12]
            stride, u_most, v_most, u, v, ux, vx = (builder.trunc(number, i32) for number in wide)
            x, y = clamped(builder, u, ux, u_most), clamped(builder, v, vx, v_most)
            rows = builder.mul(builder.ashr(y, constant(sixteen, 16)), splat(builder, stride, 16))
            quads = builder.add(rows, builder.ashr(x, constant(sixteen, 16)))
            pointers = quad_pointers(builder, base, quads)
            result = cgutils.alloca_once(builder, sixteen)
            with builder.if_else(builder.trunc(arguments[13], i1)) as (is_nearest, is_not):
                with is_nearest:
                    color = ir.Constant(sixteen, ir.Undefined)
                    for lane, pointer in enumerate(pointers):
                        color = builder.insert_element(color, builder.load(pointer), ir.Constant(i32, lane))
                    builder.store(color, result)
                with is_not:
                    builder.store(mean(builder, corners(builder, pointers), weights(builder, x, y)), result)
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
        return types.void(pixels, whole, whole, atlas, *[whole] * 8, types.uint32, types.boolean), generate

    @jit
    def probe(bank, atlas, pixels):
        make_sixteen_quads(bank, 0, 0, atlas, 0)  # type: ignore[call-arg]
        sample_sixteen(pixels, 0, 5, atlas, 0, 16, 65535, 65535, 32768, 0, 0, 0, np.uint32(0), False)

    bank, atlas, pixels = np.arange(0, 204, 4).astype(np.uint8), np.zeros(64, np.uint32), np.zeros(16, np.uint32)
    probe(bank, atlas, pixels)
    if pixels[:4].tolist() != [0x0E0A06, 0, 0x0E0A06, 0]:
        raise RuntimeError("the vector operations give wrong results")
    return make_sixteen_quads, sample_sixteen


def _choose() -> tuple[bool, Any, Any]:
    if SIMD:
        with contextlib.suppress(Exception):  # whatever LLVM cannot do here, the plain loops can
            return True, *_vector_operations()
    return False, _make_sixteen_quads_plain, _sample_sixteen_plain


#: Whether the vector path is in use, and the two operations.
VECTOR, _make_sixteen_quads, _sample_sixteen = _choose()


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
    u_most, v_most = (extent_x << 16) - 1, (extent_y << 16) - 1
    while mask:
        first = np.int64(_trailing_zeros(mask))  # sixteen pixels from the first on, wherever they lie
        some = np.int64((mask >> np.uint64(first)) & _SIXTEEN)
        _sample_sixteen(
            pixels, start + first, some, atlas, place, extent_x, u_most, v_most,
            u + first * ux, v + first * vx, ux, vx, tint, nearest,
        )  # fmt: skip
        mask &= ~(_SIXTEEN << np.uint64(first))
