"""Inverse problems: items from measurements of them, with any trained run as the prior."""
