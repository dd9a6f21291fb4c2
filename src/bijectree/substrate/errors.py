"""What a bijector or a function of a user may raise where it is called."""

# What is raised where shapes or dtypes do not suit.
BIND_ERRORS = (
    ValueError,
    TypeError,
    NotImplementedError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
    ZeroDivisionError,
)

# What is raised at values as well.
CALL_ERRORS = (*BIND_ERRORS, ArithmeticError, LookupError, RuntimeError)
