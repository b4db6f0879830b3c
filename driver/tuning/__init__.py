"""Searching schedules by measurement: `netc tune`.

statistics  what paired measurements say
search      which settings are measured, and which of them are kept; knows neither programs nor clocks
measuring   programs with chosen settings, run in turns
tune        all of it for a network, with its files (`runtime/tuned.py`); `report` shows what came out
"""
