"""Specs as text: what each parameter may be, in a file that outlives the script.

*Data* are what TOML holds: words, numbers, lists and tables. *Plain* numbers are written
without their dtype. Functions and classes are *named* in a file, and *given* by the
caller who reads it.
"""

from .load import load_spec
from .save import save_spec
