"""Figures of the report, one file each: functions of numbers that return inline SVG, or pictures as data URIs."""
