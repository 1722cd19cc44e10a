"""How large an image becomes, and how much memory images may take. Does without Pillow, because the exporter uses it too."""

from __future__ import annotations

from collections.abc import Mapping

#: How many bytes the images that are prepared at the same time may take together, for each of `max_pixels`.
BYTES_A_PIXEL = 8


def resized(size: Mapping[str, int], width: int, height: int) -> tuple[int, int]:
    """Width and height of an image after resizing to a processor's `size`, rounded as in transformers."""
    if "height" in size:
        return size["width"], size["height"]
    if "max_height" in size:
        scale = min(size["max_height"] / height, size["max_width"] / width)
        return int(width * scale), int(height * scale)
    short, long = sorted((width, height))
    exact: float = size["shortest_edge"]
    longest = size.get("longest_edge")
    if longest is not None and long / short * exact > longest:
        exact = longest * short / long
    edge = round(exact)
    other = long if edge == short else int(exact * long / short)
    return (edge, other) if width <= height else (other, edge)
