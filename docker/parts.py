"""Makes the modules `serving.…` importable that `hf2triton serve` has too, without the package that they are from.

In the image they lie beside this file; in a checkout they are the embedded server's. Imported for that effect.
"""

import sys
import types
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_FOLDERS = (_HERE / "serving", _HERE.parent / "exporter" / "hf2triton" / "serving")

package = types.ModuleType("serving")
package.__path__ = [str(folder) for folder in _FOLDERS if folder.is_dir()]
sys.modules["serving"] = package
