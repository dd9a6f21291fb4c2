"""An optax optimizer of free coordinates that keeps the model inside its support.

A leaf's *start* is its parameter before a step, its *target* where the free coordinates
map to, and it *lands* where the rounded sum of start and step ends. A leaf that is
*watched* has a fingerprint in the state, by which a change from outside is noticed. An
optimizer's state is *carried* over to another spec.
"""

from .carry import carry
from .eval_params import eval_params
from .reparameterize import reparameterize
