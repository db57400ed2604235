"""Scratches, spots and dents: what each does to a surface, and where.

Each function changes relief and reflectance in place and returns the mask. ``strength`` is
about the change in brightness, relative to the surface around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from trainer.data.surfaces import noise

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.random import Generator
    from numpy.typing import NDArray

    from trainer.data.surfaces import Light, Surface

    Mask: TypeAlias = NDArray[np.bool_]

Flaw = Literal["scratch", "spot", "dent"]
FLAWS: tuple[Flaw, ...] = ("scratch", "spot", "dent")

_STEP = 0.5  # pixels between the points of a scratch
_ACROSS_GRAIN = np.deg2rad(20)


def add_flaw(rng: Generator, flaw: Flaw, surface: Surface, light: Light) -> Mask:
    """Damage a surface; return where, (H, W). A few are faint, as they are on a line."""
    add = {"scratch": _scratch, "spot": _spot, "dent": _dent}[flaw]
    faint = rng.random() < 0.15
    strength = surface.roughness * (rng.uniform(0.1, 0.16) if faint else _spread(rng, 0.2, 0.6))
    return add(rng, surface, light, strength)


def _scratch(rng: Generator, surface: Surface, light: Light, strength: float) -> Mask:
    """A groove along a curve: bright where it is fresh, dark along its edges, thin at both ends."""
    del light
    height, width = surface.relief.shape
    length = _spread(rng, 30, 0.9 * height)
    thickness = rng.uniform(0.55, 1.5)
    heading = rng.uniform(0, np.pi)
    if surface.grain is not None:  # along the grain it would be one streak more
        heading = surface.grain + rng.uniform(_ACROSS_GRAIN, np.pi - _ACROSS_GRAIN)
    t = np.linspace(0, 1, max(2, int(length / _STEP)))
    bend = rng.normal(0, 0.5) * t + rng.normal(0, 0.25) * np.sin(2 * np.pi * (t + rng.random()))
    steps = heading + bend
    x, y = np.cumsum(np.cos(steps)) * _STEP, np.cumsum(np.sin(steps)) * _STEP
    x += rng.uniform(0.15, 0.85) * width - x[len(x) // 2]
    y += rng.uniform(0.15, 0.85) * height - y[len(y) // 2]
    pressure = np.minimum(1, 5 * np.minimum(t, 1 - t)) ** 0.5
    pressure *= 1 + 0.25 * np.sin(2 * np.pi * (t * length / 37 + rng.random()))

    core = np.zeros((height, width), np.float32)
    edge = np.zeros((height, width), np.float32)
    reach = int(np.ceil(4 * thickness)) + 1
    offsets = np.arange(-reach, reach + 1)
    rows = np.round(y).astype(int)[:, None, None] + offsets[:, None]
    columns = np.round(x).astype(int)[:, None, None] + offsets
    distance = np.hypot(rows - y[:, None, None], columns - x[:, None, None]) / thickness
    rows, columns = np.broadcast_arrays(rows, columns)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    place = (rows[inside], columns[inside])
    weight = np.broadcast_to(pressure[:, None, None], distance.shape)[inside]
    distance = distance[inside]
    np.maximum.at(core, place, (weight * np.exp(-0.5 * distance**2)).astype(np.float32))
    np.maximum.at(edge, place, (weight * np.exp(-((distance - 2.2) ** 2))).astype(np.float32))
    edge *= core < 0.5

    surface.reflectance[...] *= 1 + strength * (1.6 * core - 0.7 * edge)
    surface.relief[...] -= 0.5 * strength * thickness * core
    return (core > 0.2) | (edge > 0.5)


def _spot(rng: Generator, surface: Surface, light: Light, strength: float) -> Mask:
    """A stain: soft, irregular border, uneven inside, sometimes dried darker at its rim."""
    del light
    height, width = surface.relief.shape
    radius = _spread(rng, 4, 34)
    distance = _ellipse(rng, height, width, radius, flattest=0.6)
    distance *= 1 + 0.22 * np.clip(noise(rng, height, width, radius, radius), -2, 2)
    cover = 1 / (1 + np.exp(np.clip((distance - 1) / rng.uniform(0.06, 0.2), -30, 30)))
    uneven = cover * (1 + 0.25 * noise(rng, height, width, radius / 2, radius / 2))
    if rng.random() < 0.4:
        uneven += 0.6 * np.exp(-(((distance - 0.95) / 0.12) ** 2))
    sign = 1 if rng.random() < 0.25 else -1
    amount = sign * min(0.75, strength * (1 + 4 / radius))
    surface.reflectance[...] *= np.clip(1 + amount * uneven, 0.1, 2.5)
    return cover > 0.35


def _dent(rng: Generator, surface: Surface, light: Light, strength: float) -> Mask:
    """A hollow, or now and then a bump: seen by its shading alone, bright towards the light."""
    height, width = surface.relief.shape
    radius = _spread(rng, 5, 26)
    distance = _ellipse(rng, height, width, radius, flattest=0.55)
    slope = strength * (1 + 5 / radius) * np.tan(light.elevation)
    depth = slope * radius / np.exp(-0.5)  # the steepest slope of a Gaussian is at its deviation
    sign = 1 if rng.random() < 0.25 else -1
    surface.relief[...] += sign * depth * np.exp(-0.5 * distance**2)
    return distance < 1.7


def _ellipse(
    rng: Generator, height: int, width: int, radius: float, *, flattest: float
) -> NDArray[np.float32]:
    """Distance from a random place, in radii; in one direction they are shorter."""
    x = np.arange(width, dtype=np.float32) - rng.uniform(0.08, 0.92) * width
    y = np.arange(height, dtype=np.float32)[:, None] - rng.uniform(0.08, 0.92) * height
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = (y * np.cos(angle) - x * np.sin(angle)) / rng.uniform(flattest, 1)
    distance: NDArray[np.float32] = np.hypot(along, across) / radius
    return distance


def _spread(rng: Generator, low: float, high: float) -> float:
    """A value between the two, each octave as likely as the next."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
