"""
The verified JWTs of gateways and identity providers.
"""
