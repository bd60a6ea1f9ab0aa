"""Sensors that are not there: synthetic ECG, and virtual sensors that send it."""
