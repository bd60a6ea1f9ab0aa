"""fewbeats: ventricular-arrhythmia detectors that fit their wearer after a few beats.

Research software, no medical device.
"""

__version__ = "0.1.0"
