"""`fill_word` and `pack_rgb` as vector code, and as plain loops with the same result.

Numba has no masked store of 64 lanes, so intrinsics emit portable LLVM vector code, which LLVM compiles to instructions of the
CPU. The plain loops are used where the intrinsics cannot be built, or with SYNVID_SIMD=0.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from synvid.numerics.jit import SIMD, jit

__all__ = ["VECTOR", "address", "fill_word", "lanes", "pack_rgb", "splat"]


_1 = np.uint64(1)
_BYTE = np.uint32(255)


@jit
def _fill_word_plain(pixels, start, mask, value):
    for lane in range(64):
        if (mask >> np.uint64(lane)) & _1:
            pixels[start + lane] = value


@jit
def _pack_pixel(pixels, source, packed, target):
    color = pixels[source]
    packed[target] = np.uint8(color & _BYTE)
    packed[target + 1] = np.uint8((color >> np.uint32(8)) & _BYTE)
    packed[target + 2] = np.uint8((color >> np.uint32(16)) & _BYTE)


@jit
def _pack_sixteen_plain(pixels, source, packed, target):
    for lane in range(16):
        _pack_pixel(pixels, source + lane, packed, target + 3 * lane)


def address(context: Any, builder: Any, array_type: Any, array: Any, offset: Any, vector: Any) -> Any:
    """Pointer to the vector that begins at an element of an array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())


def lanes(numbers: list[int]) -> Any:
    """The constant that lists the lanes a shuffle takes."""
    from llvmlite import ir

    return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), numbers)


def splat(builder: Any, value: Any, count: int) -> Any:
    """A vector of `count` copies of a value."""
    from llvmlite import ir

    undefined = ir.Constant(ir.VectorType(value.type, count), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, lanes([0] * count))


def _vector_operations() -> tuple[Any, Any]:
    """Build `fill_word` and `pack_sixteen` as LLVM vector code."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    i8 = ir.IntType(8)

    @intrinsic
    def fill_word(typing: Any, pixels: Any, start: Any, mask: Any, value: Any) -> Any:
        """Set pixels[start + k] = value where bit k of mask is set; 64 lanes."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array_type = signature.args[0]
            element = context.get_data_type(array_type.dtype)
            vector = ir.VectorType(element, 64)
            pointer = address(context, builder, array_type, arguments[0], arguments[1], vector)
            selected = builder.bitcast(arguments[2], ir.VectorType(ir.IntType(1), 64))
            old = builder.load(pointer)
            old.align = element.width // 8
            builder.store(builder.select(selected, splat(builder, arguments[3], 64), old), pointer).align = element.width // 8
            return context.get_dummy_value()

        return types.void(pixels, types.int64, types.uint64, pixels.dtype), generate

    @intrinsic
    def pack_sixteen(typing: Any, pixels: Any, source: Any, packed: Any, target: Any) -> Any:
        """Convert sixteen uint32 RGBX pixels to 48 RGB bytes."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            wide, narrow = ir.VectorType(i8, 64), ir.VectorType(i8, 48)
            read = address(context, builder, signature.args[0], arguments[0], arguments[1], wide)
            write = address(context, builder, signature.args[2], arguments[2], arguments[3], narrow)
            pixel = builder.load(read)
            pixel.align = 4
            kept_bytes = lanes([4 * (k // 3) + k % 3 for k in range(48)])
            rgb = builder.shuffle_vector(pixel, ir.Constant(wide, ir.Undefined), kept_bytes)
            builder.store(rgb, write).align = 1
            return context.get_dummy_value()

        return types.void(pixels, types.int64, packed, types.int64), generate

    @jit
    def probe(pixels, packed):
        fill_word(pixels, 0, np.uint64(5), np.uint32(0x00030201))  # type: ignore[call-arg]
        pack_sixteen(pixels, 0, packed, 0)

    packed = np.zeros(48, np.uint8)
    probe(np.zeros(64, np.uint32), packed)
    if packed[:9].tolist() != [1, 2, 3, 0, 0, 0, 1, 2, 3]:
        raise RuntimeError("the vector operations give wrong results")
    return fill_word, pack_sixteen


def _choose() -> tuple[bool, Any, Any]:
    if SIMD:
        with contextlib.suppress(Exception):  # fall back to the plain loops, whatever LLVM raises
            return True, *_vector_operations()
    return False, _fill_word_plain, _pack_sixteen_plain


#: Whether the vector code is in use, and the two operations.
VECTOR, fill_word, _pack_sixteen = _choose()


@jit
def pack_rgb(pixels, source, count, packed, target):
    """Convert `count` RGBX pixels from pixels[source:] to RGB bytes at packed[target:]; both arrays are flat."""
    for k in range(0, count - 15, 16):
        _pack_sixteen(pixels, source + k, packed, target + 3 * k)
    for k in range(count - count % 16, count):
        _pack_pixel(pixels, source + k, packed, target + 3 * k)
