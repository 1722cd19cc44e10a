"""What does not fit into the server's shared memory fails alone: small requests are not merged with large ones."""

import json
import subprocess
import sys

import pytest

from ..conftest import export_asset

#: Of /dev/shm: the large images do not fit, and small ones do.
SIZE = "16m"
#: The edge of an image of noise, of 21 MiB as a PNG.
SIDE = "2800"
IN_A_NAMESPACE = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
MOUNT = f"mount -t tmpfs -o size={SIZE} shm /dev/shm"


@pytest.mark.slow  # it exports, and serves in a namespace of its own
def test_large_images_fail_alone(tmp_path):
    """Large images that shared memory has no room for fail, and none of the small ones beside them."""
    if subprocess.run([*IN_A_NAMESPACE, MOUNT], capture_output=True).returncode:
        pytest.skip("this machine permits no mount namespace")
    export_asset(tmp_path, "vit", "image-classification", "fp32", name="clothes")
    command = f"{MOUNT} && exec {sys.executable} -m tests.end_to_end.crowded {tmp_path} clothes {SIDE}"
    result = subprocess.run([*IN_A_NAMESPACE, command], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    counts = json.loads(result.stdout.splitlines()[-1])
    assert counts["large failed"] > 0
    assert counts["small answered"] > 0
    assert counts.get("small failed", 0) == counts.get("small wrong", 0) == 0
