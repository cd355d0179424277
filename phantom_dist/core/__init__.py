"""The words that every layer shares: quantities, trials, measurements, outcomes, errors.

Imports nothing but the standard library and pydantic, so any process, with or without torch, can speak them.
"""
