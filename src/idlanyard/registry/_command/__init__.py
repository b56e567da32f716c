"""
The operator's command: ``python -m idlanyard registry``.
"""
