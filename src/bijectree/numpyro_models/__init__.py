"""NumPyro's model functions as posteriors.

A *site* is a named statement of a model function. A *program* is a model function with
its arguments, traced once: what each site has, as a function of the arrays among the
arguments and of the values of the latent sites. A *part* of a program is what of it some
results need.
"""

from .from_numpyro import from_numpyro
from .observed_sites import ObservedSites
