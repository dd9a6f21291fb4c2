"""An optax optimizer of free coordinates that keeps the model inside its support."""

from .carry import carry as carry
from .eval_params import eval_params as eval_params
from .reparameterize import reparameterize as reparameterize
