"""
Parts of the HTTP API that its faces share: routes, bodies, replies, and how questions are asked.
"""
