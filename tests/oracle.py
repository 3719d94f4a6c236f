"""A slow, simple rasterizer: it tests every pixel centre against every object, back to front.

It follows the rule that `synvid.raster.spans` describes, and shares no code with it.
"""

import math

import numpy as np


def find_crossings(pose, outline, y):
    """The x coordinates at which an outline crosses the line y, in the order of its edges."""
    if outline is None:
        (a, b, x0), (c, d, y0) = pose.tolist()
        h2 = c * c + d * d
        if h2 < 1e-18 or not y0 - math.sqrt(h2) <= y < y0 + math.sqrt(h2):
            return []
        down = y - y0
        half = abs(a * d - b * c) / h2 * math.sqrt(max(h2 - down * down, 0.0))
        middle = x0 + (a * c + b * d) / h2 * down
        return [middle - half, middle + half]
    (a, b, x0), (c, d, y0) = pose.tolist()
    points = [(a * u + b * v + x0, c * u + d * v + y0) for u, v in outline.tolist()]
    crossings = []
    for start, end in zip(points, points[1:] + points[:1], strict=True):
        upper, lower = (start, end) if end[1] > start[1] else (end, start)
        if upper[1] <= y < lower[1]:
            slope = (lower[0] - upper[0]) / (lower[1] - upper[1])
            crossings.append(upper[0] + (y - upper[1]) * slope)
    return crossings


def mask(pose, outline, height, width):
    """The pixels whose centre is inside the outline, bool (H, W): it has an odd number of crossings to its left."""
    inside = np.zeros((height, width), bool)
    if np.isfinite(pose).all() and (abs(pose) < 1e9).all():
        centers = np.arange(width) + 0.5
        for y in range(height):
            for x in find_crossings(pose, outline, y + 0.5):
                inside[y] ^= centers >= x
    return inside


def paint(poses, outlines, colors, background, height, width):
    """A frame, uint8 (H, W, 3), painted back to front."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = background
    for pose, outline, color in zip(poses, outlines, colors, strict=True):
        frame[mask(pose, outline, height, width)] = color
    return frame


def render(scene, t):
    """One frame of a scene, uint8 (H, W, 3)."""
    poses = scene.poses(t)
    if not scene.antialias:
        return paint(poses, scene.outlines, scene.colors, scene.background, scene.height, scene.width)
    fine = paint(poses * 4, scene.outlines, scene.colors, scene.background, scene.height * 4, scene.width * 4)
    samples = fine.reshape(scene.height, 4, scene.width, 4, 3).astype(int)
    return ((samples.sum((1, 3)) + 8) // 16).astype(np.uint8)


def visible_objects(scene, t):
    """Indices of the objects that are visible in at least one pixel."""
    owner = np.full((scene.height, scene.width), -1)
    for i, (pose, outline) in enumerate(zip(scene.poses(t), scene.outlines, strict=True)):
        owner[mask(pose, outline, scene.height, scene.width)] = i
    return np.unique(owner[owner >= 0])


# ---- Textures ------------------------------------------------------------------------------------------------------
def find_texture(scene, row, get_bank, t):
    """The texture of a row of `scene.textures` at frame t, uint8 (S, S, 3); None for a solid colour."""
    textures = scene.textures
    if textures is None or textures.choice[row] < 0:
        return None
    position = textures.choice[row] * len(textures.banks)
    bank = get_bank(textures.banks[math.floor(position)])
    number, frames = math.floor((position - math.floor(position)) * min(textures.max_textures, len(bank))), bank.shape[1]
    cycle = list(range(frames)) + list(range(frames - 2, 0, -1))  # forwards, then backwards
    return bank[number, cycle[t % len(cycle)]]


def texel(texture, x, y):
    """The texel at (x, y), or the nearest one if that is outside."""
    last = len(texture) - 1
    return texture[min(max(y, 0), last), min(max(x, 0), last)].astype(int)


def sample(texture, u, v, nearest):
    """The colour of a texture at (u, v), in 1/65536 texel."""
    last = (len(texture) - (0 if nearest else 1)) * 65536 - 1
    u, v = min(max(u, 0), last), min(max(v, 0), last)
    x, y, across, down = u >> 16, v >> 16, ((u & 65535) + 128) >> 8, ((v & 65535) + 128) >> 8
    if nearest:
        return texel(texture, x, y)
    both = (across * down + 128) >> 8
    weights = {(0, 0): 256 - across - down + both, (1, 0): across - both, (0, 1): down - both, (1, 1): both}
    return (sum(weight * texel(texture, x + i, y + j) for (i, j), weight in weights.items()) + 128) >> 8


def fill(frame, inside, pose, texture, radius, reach, crop, side, nearest, tint):
    """Paint pixels with a crop of a texture that moves with a pose."""
    size = len(texture)
    texels = radius * size / max(side, 2.0 * radius * reach)
    half = texels * reach
    middle = [half + fraction * (size - 2.0 * half) for fraction in crop]
    (a, b, x0), (c, d, y0) = pose
    area = a * d - b * c
    with np.errstate(all="ignore"):
        area = np.float64(area)
        ux, uy, vx, vy = texels * d / area, -texels * b / area, -texels * c / area, texels * a / area
    if not all(abs(k) < 16384.0 for k in (ux, uy, vx, vy)):
        ux = uy = vx = vy = 0.0
    shift = 0.0 if nearest else 0.5
    u0 = middle[0] - shift + ux * (0.5 - x0) - uy * y0
    v0 = middle[1] - shift + vx * (0.5 - x0) - vy * y0
    for y, x in zip(*np.nonzero(inside), strict=True):
        position = []
        for step, along, start in ((ux, uy, u0), (vx, vy, v0)):
            value = math.floor(along * 65536 * (y + 0.5) + start * 65536) + int(x) * math.floor(step * 65536 + 0.5)
            position.append((value + (1 << 31)) % (1 << 32) - (1 << 31))  # 32 bits
        frame[y, x] = np.minimum(sample(texture, *position, nearest) + tint, 255)


def render_textured(scene, t, get_bank):
    """One frame of a scene with textures, uint8 (H, W, 3).

    `get_bank` takes the name of a bank and returns its textures, uint8 (n, frames, S, S, 3).
    """
    textures, (height, width) = scene.textures, (scene.height, scene.width)
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = scene.background
    span = max(height, width) / 2.0
    background = find_texture(scene, -1, get_bank, t)
    if background is not None:
        pose = ((span, 0.0, width / 2.0), (0.0, span, height / 2.0))
        everywhere = np.ones((height, width), bool)
        fill(frame, everywhere, pose, background, span, 1.0, textures.crop[-1], 2 * span, textures.nearest, np.zeros(3, int))
    for i, (pose, outline) in enumerate(zip(scene.poses(t), scene.outlines, strict=True)):
        inside, texture = mask(pose, outline, height, width), find_texture(scene, i, get_bank, t)
        if texture is None:
            frame[inside] = scene.colors[i]
        else:
            tint = scene.colors[i].astype(int) if textures.additive_tint else np.zeros(3, int)
            radius, reach = float(scene.motion.radius[i]), float(scene.bounding_radii[i])
            fill(frame, inside, pose.tolist(), texture, radius, reach, textures.crop[i], textures.side, textures.nearest, tint)
    return frame
