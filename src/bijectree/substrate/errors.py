"""What a bijector or a function of a user may raise where it is called."""

# When shapes or dtypes do not suit.
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

# At values.
CALL_ERRORS = (*BIND_ERRORS, ArithmeticError, LookupError, RuntimeError)
