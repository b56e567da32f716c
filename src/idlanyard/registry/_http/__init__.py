"""
The HTTP API's machinery, which the faces share.
"""
