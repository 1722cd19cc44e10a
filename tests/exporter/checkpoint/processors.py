"""Files of image processors, written for tests."""

import json

SQUARE = {"height": 224, "width": 224}
VIT, CLIP = "ViTImageProcessor", "CLIPImageProcessor"


def write(folder, settings, name="preprocessor_config.json"):
    (folder / name).write_text(json.dumps(settings))
    return folder
