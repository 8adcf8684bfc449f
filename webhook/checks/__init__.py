"""Asks registries whether the credentials that are written for them work. `Checked` is the source that all others see:
it knows what the registries said; `Checker` asks them, in the background.
"""
