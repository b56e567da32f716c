"""
Jobs: one contract for every queue, asked with its real worker in another process.
"""
