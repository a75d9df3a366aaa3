"""Routers that others have published, and the simple ones that any router has to beat; one file each.

Every one gets what MixLLM gets, and chooses its hyper-parameters on the training part alone.
"""
