"""
The contract's application, once for each framework.
"""
