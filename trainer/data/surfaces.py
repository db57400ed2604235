"""Surfaces without a flaw, and how a camera sees them: relief, reflectance, light, lens, noise.

Arrays are float32, (H, W). Relief is in pixels, reflectance and brightness 0-1 (a little more
before the camera clips). Directions are in radians, x to the right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.random import Generator
    from numpy.typing import NDArray

    Plane: TypeAlias = NDArray[np.floating]
    Picture: TypeAlias = NDArray[np.uint8]

Material = Literal["brushed", "cast", "painted"]
MATERIALS: tuple[Material, ...] = ("brushed", "cast", "painted")
Lighting = Literal["gradient", "spot", "side", "vignette"]
LIGHTINGS: tuple[Lighting, ...] = ("gradient", "spot", "side", "vignette")


@dataclass(frozen=True)
class Surface:
    """A surface before any light falls on it."""

    relief: Plane
    reflectance: Plane
    gloss: float
    """How much of a highlight it throws back, 0-1."""
    grain: float | None
    """Direction of the brushing, where there is one."""
    roughness: float
    """How much the texture hides: flaws on a rougher surface are made stronger by this factor."""


@dataclass(frozen=True)
class Light:
    """Where the light comes from, and how evenly it falls."""

    azimuth: float
    elevation: float
    """Above the surface: the lower, the more of the relief is seen."""
    field: Plane
    """Illuminance, mean 1."""
    highlight: tuple[float, float, float]
    """Centre x, centre y and radius of its reflection, pixels."""


def make_surface(rng: Generator, material: Material, height: int, width: int) -> Surface:
    """A piece of material, with all that is harmless on it: streaks, pores, dust, seams."""
    make = {"brushed": _brushed, "cast": _cast, "painted": _painted}[material]
    surface = make(rng, height, width)
    relief, reflectance = surface.relief, surface.reflectance
    for _ in range(rng.integers(0, 7)):
        _speck(rng, reflectance, radius=rng.uniform(0.6, 1.5), contrast=rng.uniform(-0.5, 0.5))
    if rng.random() < 0.2:
        _seam(rng, relief, surface.grain or 0.0)
    if rng.random() < 0.35:
        band = noise(rng, height, width, height / 2, width / 3)
        reflectance *= 1 + rng.uniform(0.02, 0.05) * band
    return surface


def make_light(rng: Generator, lighting: Lighting, height: int, width: int) -> Light:
    """A lamp of the given kind somewhere around the surface."""
    azimuth = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = (x - width / 2) / height, (y - height / 2) / height
    along = u * np.cos(azimuth) + v * np.sin(azimuth)
    elevation = rng.uniform(0.65, 1.05)
    if lighting == "gradient":
        field = 1 + rng.uniform(0.2, 0.9) * along
    elif lighting == "spot":
        centre_x, centre_y = rng.uniform(-0.2, 0.2), rng.uniform(-0.35, 0.35)
        size = rng.uniform(0.35, 0.7)
        distance = ((u - centre_x) ** 2 + (v - centre_y) ** 2) / size**2
        field = 0.5 + rng.uniform(0.5, 1.0) * np.exp(-distance)
    elif lighting == "side":
        elevation = rng.uniform(0.32, 0.5)
        field = np.exp(rng.uniform(0.4, 1.1) * along)
    else:
        field = 1 - rng.uniform(0.5, 1.1) * (u * u + v * v)
    spread = rng.uniform(0.25, 0.6) * height
    highlight = (rng.uniform(0, width), rng.uniform(0, height), spread)
    return Light(azimuth, elevation, (field / field.mean()).astype(np.float32), highlight)


def photograph(rng: Generator, surface: Surface, light: Light) -> Picture:
    """The picture: Lambert's cosine law, a highlight, a lens, shot and read-out noise, 8 bits."""
    slope_y, slope_x = np.gradient(surface.relief)
    towards = slope_x * np.cos(light.azimuth) + slope_y * np.sin(light.azimuth)
    lambert = (1 - towards / np.tan(light.elevation)) / np.sqrt(1 + slope_x**2 + slope_y**2)
    picture = light.field * surface.reflectance * np.clip(lambert, 0.05, 2.5)
    if surface.gloss:
        height, width = picture.shape
        x, y, spread = light.highlight
        across = (np.arange(width, dtype=np.float32) - x) / spread - 2.5 * slope_x
        down = (np.arange(height, dtype=np.float32)[:, None] - y) / spread - 2.5 * slope_y
        picture += surface.gloss * np.exp(-(across**2 + down**2))
    # Exposure, chosen so that the surface isn't white: nothing could be found there.
    brightest = float(np.percentile(picture[::4, ::4], 95))
    picture *= min(np.exp(rng.normal(0, 0.22)), 0.9 / brightest)
    picture = _lens(picture, rng.uniform(0.08, 0.2))
    noise_of = rng.standard_normal(picture.shape, dtype=np.float32)
    shot, read = rng.uniform(0.004, 0.02), rng.uniform(0.003, 0.01)
    picture += noise_of * np.sqrt(shot**2 * np.clip(picture, 0, 1) + read**2)
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def noise(rng: Generator, height: int, width: int, cell_y: float, cell_x: float) -> Plane:
    """Smooth noise of mean 0 and deviation 1, with bumps of about the size of a cell."""
    rows, columns = max(2, round(height / cell_y) + 1), max(2, round(width / cell_x) + 1)
    grid = Image.fromarray(rng.standard_normal((rows, columns), dtype=np.float32))
    plane = np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))
    return (plane - plane.mean()) / (plane.std() + 1e-6)


def _brushed(rng: Generator, height: int, width: int) -> Surface:
    """Streaks in one direction, of many lengths."""
    upright = rng.random() < 0.5
    tilt = rng.uniform(-5, 5)
    margin = round(0.1 * max(height, width)) + 4
    rows, columns = height + 2 * margin, width + 2 * margin
    if upright:
        rows, columns = columns, rows
    streaks = 0.5 * noise(rng, rows, columns, 1, 30)
    streaks += 0.8 * noise(rng, rows, columns, 1.3, 120)
    streaks += 0.5 * noise(rng, rows, columns, 3, 500)
    streaks += 0.5 * noise(rng, rows, columns, 14, 900)
    if upright:
        streaks = streaks.T
    turned = Image.fromarray(np.ascontiguousarray(streaks)).rotate(tilt, Image.Resampling.BICUBIC)
    streaks = np.asarray(turned)[margin : margin + height, margin : margin + width]
    reflectance = rng.uniform(0.38, 0.55) * (1 + rng.uniform(0.04, 0.09) * streaks)
    grain = (np.pi / 2 if upright else 0.0) - np.deg2rad(tilt)
    return Surface(
        relief=(0.02 * streaks).astype(np.float32),
        reflectance=reflectance.astype(np.float32),
        gloss=rng.uniform(0.05, 0.25),
        grain=float(grain),
        roughness=1.2,
    )


def _cast(rng: Generator, height: int, width: int) -> Surface:
    """Grainy relief with fine pores, dull."""
    relief = rng.uniform(0.06, 0.12) * noise(rng, height, width, 2.5, 2.5)
    relief += rng.uniform(0.12, 0.25) * noise(rng, height, width, 6, 6)
    relief += rng.uniform(0.15, 0.4) * noise(rng, height, width, 17, 17)
    reflectance = rng.uniform(0.32, 0.5) * (
        1
        + 0.03 * noise(rng, height, width, 3, 3)
        + rng.uniform(0.02, 0.06) * noise(rng, height, width, 45, 45)
    )
    for _ in range(rng.integers(8, 40)):
        _speck(rng, reflectance, radius=rng.uniform(0.6, 1.4), contrast=-rng.uniform(0.2, 0.6))
    return Surface(relief, reflectance, gloss=0.0, grain=None, roughness=1.5)


def _painted(rng: Generator, height: int, width: int) -> Surface:
    """Nearly even, with the orange peel of a sprayed coat, glossy."""
    relief = rng.uniform(0.05, 0.12) * noise(rng, height, width, 5, 5)
    relief += rng.uniform(0.08, 0.28) * noise(rng, height, width, 24, 24)
    reflectance = rng.uniform(0.2, 0.6) * (1 + 0.012 * noise(rng, height, width, 70, 70))
    return Surface(relief, reflectance, gloss=rng.uniform(0.1, 0.35), grain=None, roughness=1.0)


def _speck(rng: Generator, reflectance: Plane, radius: float, contrast: float) -> None:
    """A grain of dust, or a pore: round, and no larger than what the camera just resolves."""
    height, width = reflectance.shape
    centre_x, centre_y = rng.uniform(0, width), rng.uniform(0, height)
    left, top = max(0, int(centre_x) - 5), max(0, int(centre_y) - 5)
    patch = reflectance[top : top + 11, left : left + 11]
    y, x = np.ogrid[top : top + patch.shape[0], left : left + patch.shape[1]]
    patch *= 1 + contrast * np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / radius**2)


def _seam(rng: Generator, relief: Plane, grain: float) -> None:
    """A machined step, straight from edge to edge: it belongs there."""
    height, width = relief.shape
    direction = grain + rng.choice([0, np.pi / 2]) + rng.normal(0, 0.02)
    y, x = np.ogrid[0:height, 0:width]
    distance = (x - rng.uniform(0.15, 0.85) * width) * np.sin(direction)
    distance = distance - (y - rng.uniform(0.15, 0.85) * height) * np.cos(direction)
    relief += (rng.uniform(0.4, 1.2) * np.tanh(distance / rng.uniform(1.5, 3))).astype(np.float32)


def _lens(picture: Plane, share: float) -> Plane:
    """Blur by a kernel of (share, 1 - 2 share, share) each way."""
    wide = np.pad(picture, 1, mode="edge")
    rows = share * (wide[:-2] + wide[2:]) + (1 - 2 * share) * wide[1:-1]
    return share * (rows[:, :-2] + rows[:, 2:]) + (1 - 2 * share) * rows[:, 1:-1]
