"""The image processors that checkpoints of these families have, as transformers defines them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

#: Processor class of transformers whose steps the frontend supports -> its defaults. The class stands for all of its backends and
#: old names.
PROCESSORS: Mapping[str, Mapping[str, Any]] = {
    "ViTImageProcessor": {"size": {"height": 224, "width": 224}, "resample": 2},
    "CLIPImageProcessor": {
        "do_convert_rgb": True,
        "size": {"shortest_edge": 224},
        "default_to_square": False,
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "image_mean": _OPENAI_MEAN,
        "image_std": _OPENAI_STD,
    },
    "DeiTImageProcessor": {
        "size": {"height": 256, "width": 256},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
    },
    "BitImageProcessor": {
        "do_convert_rgb": True,
        "size": {"shortest_edge": 224},
        "default_to_square": False,
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "image_mean": _OPENAI_MEAN,
        "image_std": _OPENAI_STD,
    },
    "SiglipImageProcessor": {
        "do_convert_rgb": True,
        "size": {"height": 224, "width": 224},
        "default_to_square": False,
        "resample": 3,
    },
}
