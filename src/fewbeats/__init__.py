"""fewbeats: ventricular-arrhythmia detectors that fit their wearer after a few beats.

Research software, no medical device.
"""

import os

# From 1.32 on, importing ONNX Runtime writes a device's id and what it sees into the home folder,
# unless this is set before; whatever imports it here has come by this line.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
