"""Makes the small trees importable as `trees`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
