"""Operators and layers of detectors: anchors, overlaps, suppression, samples in boxes."""
