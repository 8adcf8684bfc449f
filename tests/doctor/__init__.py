"""Pulls that fail, each for one reason, on a real node: what `pullsecret doctor` is held against.

registries  what a registry does wrong
cases       the table: how the registry fails, which Secret the pod has, and what the cause is
bed         Bed: a cluster and its node with all that at once; `python -m doctor` starts one to try things by hand
"""
