"""
One module for each framework or library; import the one that you use.
"""
