"""From the bytes of a sensor to time-stamped microvolts."""
