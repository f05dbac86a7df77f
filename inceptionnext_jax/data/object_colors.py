"""Colours of classes of objects, to be drawn over photographs."""

import colorsys
import math

from inceptionnext_jax.data.label_maps import Color

_FAR = 0.382  # of all hues, from class to class, about


def object_colors(count: int) -> tuple[Color, ...]:
    """Returns a colour for each class, bright enough for photographs; neighbours differ most."""
    first = max(1, round(count * _FAR))
    step = next(step for step in range(first, first + count + 1) if math.gcd(step, count) == 1)
    return tuple(_color(i * step % count / count, i) for i in range(count))


def _color(hue: float, number: int) -> Color:
    saturation, value = ((0.85, 1.0), (0.6, 1.0), (0.9, 0.8))[number % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)
