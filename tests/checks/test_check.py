"""`check`: right bijectors pass, each kind of fault is caught."""

import dataclasses
import functools
from io import StringIO

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import together
from rich.console import Console

import bijectree as bt
from bijectree import tfb


def inline(forward, inverse, log_det, ndims=0, name="own"):
    return tfb.Inline(
        forward_fn=forward,
        inverse_fn=inverse,
        forward_log_det_jacobian_fn=log_det,
        forward_min_event_ndims=ndims,
        name=name,
    )


def checked(bijector, value, dtype=jnp.float32):
    model = {"x": jnp.asarray(value, dtype)}
    reparam = bt.Reparam(model, {"x": bijector}, verify=False)
    (row,) = bt.check(reparam, model).rows
    return row


V = np.array([0.2, 0.3, 0.6])
CORR = np.array(
    [[1, 0.3, 0.2, 0.1], [0.3, 1, 0.4, 0.2], [0.2, 0.4, 1, 0.3], [0.1, 0.2, 0.3, 1]]
)
CHOL = np.linalg.cholesky(CORR)

RIGHT = {
    "Identity": (None, V),
    "Exp": (tfb.Exp(), V),
    "Softplus": (tfb.Softplus(), V),
    "Softplus-low": (tfb.Softplus(low=1e-3), V),
    "Sigmoid": (tfb.Sigmoid(), V),
    "Sigmoid-bounds": (tfb.Sigmoid(-1.0, 2.0), V),
    "Tanh": (tfb.Tanh(), V),
    "Scale": (tfb.Scale(2.0), V),
    "Shift": (tfb.Shift(0.1), V),
    "Chain": (tfb.Chain([tfb.Shift(0.1), tfb.Exp()]), V),
    "Ascending": (tfb.Ascending(), V),
    "IteratedSigmoidCentered": (
        tfb.IteratedSigmoidCentered(),
        np.array([0.25, 0.25, 0.5]),
    ),
    "FillScaleTriL": (tfb.FillScaleTriL(), CHOL[:2, :2]),
    "CorrelationCholesky": (tfb.CorrelationCholesky(), CHOL[:3, :3]),
    "NormalCDF": (tfb.NormalCDF(), V),
    "Inline": (inline(jnp.exp, jnp.log, lambda x: x), V),
}


@pytest.mark.slow
def test_passes_what_is_right_in_every_precision():
    dtypes = ["float16", "bfloat16", "float32", "float64"]
    with jax.enable_x64(True):
        model = {
            f"{name} {dtype}": jnp.asarray(value, dtype)
            for name, (_, value) in RIGHT.items()
            for dtype in dtypes
        }
        spec = {k: RIGHT[k.split()[0]][0] for k in model}
        report = bt.check(bt.Reparam(model, spec), model)
    report.raise_if_failed()
    assert report.ok
    assert len(report.rows) == len(model)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0,)], ids=str)
def test_passes_every_shape(shape):
    bijectors = {
        "exp": tfb.Exp(),
        "sigmoid": tfb.Sigmoid(-1.0, 2.0),
        "chain": tfb.Chain([tfb.Shift(0.1), tfb.Exp()]),
        "inline": RIGHT["Inline"][0],
        "identity": None,
    }
    model = {name: jnp.full(shape, 0.5) for name in bijectors}
    bt.check(bt.Reparam(model, bijectors), model).raise_if_failed()


CATALOGUE = {
    "real": (bt.real(), V),
    "positive": (bt.positive(), V),
    "softplus": (bt.positive(via="softplus"), V),
    "greater_than": (bt.greater_than(-1.0), V),
    "less_than": (bt.less_than(2.0), V),
    "interval": (bt.interval(-1.0, 2.0), V),
    "unit_interval": (bt.unit_interval(), V),
    "affine": (bt.affine(1.0, 3.0), V),
    "sinh_arcsinh": (bt.sinh_arcsinh(1.0, 3.0, skewness=0.5, tailweight=1.2), V),
    "ordered_vector": (bt.ordered_vector(), V),
    "positive_ordered_vector": (bt.positive_ordered_vector(), V),
    "ordered_softplus": (bt.ordered_vector(via="softplus"), V),
    "positive_ordered_softplus": (bt.positive_ordered_vector(via="softplus"), V),
    "simplex": (bt.simplex(), np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])),
    "simplex-axis": (bt.simplex(axis=-2), np.array([[0.2, 0.3], [0.8, 0.7]])),
    "simplex-of-one": (bt.simplex(), np.ones((2, 1))),
    "zero_sum": (bt.zero_sum(), np.array([1.0, 2.0, -3.0])),
    "zero_sum-matrix": (bt.zero_sum(axis=(-2, -1)), np.array([[1.0, -1], [-1, 1]])),
    "sphere": (bt.sphere(), np.array([0.6, 0.8])),
    "circular": (bt.circular(), np.array([0.6, 0.8])),
    "corr_cholesky": (bt.corr_cholesky(), CHOL[:3, :3]),
    "corr_matrix": (bt.corr_matrix(), CORR[:3, :3]),
    "lower_cholesky": (bt.lower_cholesky(), CHOL[:3, :3]),
    "lower_cholesky-tall": (bt.lower_cholesky(shape=(4, 2)), CHOL[:, :2]),
    "positive_definite": (bt.positive_definite(), 2 * CORR[:3, :3]),
}


@pytest.mark.slow
def test_passes_the_whole_catalogue():
    model = {
        name: jnp.asarray(value, jnp.float32) for name, (_, value) in CATALOGUE.items()
    }
    spec = {name: bijector for name, (bijector, _) in CATALOGUE.items()}
    report = bt.check(bt.Reparam(model, spec), model)
    report.raise_if_failed()
    rows = {row.path: row for row in report.rows}
    assert rows["sphere"].log_det == rows["circular"].log_det == "auxiliary"
    assert rows["zero_sum"].log_det == rows["zero_sum-matrix"].log_det == "isometric"
    assert rows["simplex"].event == "(2,) → (3,)"
    with_notes = {path for path, row in rows.items() if row.notes}
    assert with_notes == {"sphere", "circular", "zero_sum", "zero_sum-matrix"}


EXP_LOG = (jnp.exp, jnp.log)
log1 = jnp.zeros_like
WRONG = {
    "no log-det": (inline(*EXP_LOG, log1), V, "wrong log-det: got 0, autodiff -3.3"),
    "wrong sign": (inline(*EXP_LOG, lambda x: -x), V, "wrong log-det"),
    "mean over a vector": (
        inline(*EXP_LOG, lambda x: jnp.mean(x, axis=-1), 1),
        V,
        "wrong log-det",
    ),
    "of one element": (inline(*EXP_LOG, lambda x: x[..., 0], 1), V, "wrong log-det"),
    "NaN": (inline(*EXP_LOG, lambda x: x * jnp.nan), V, "wrong log-det: got nan"),
    "square": (
        inline(jnp.square, jnp.sqrt, lambda x: jnp.log(2 * jnp.abs(x))),
        V,
        "not bijective here: free -",
    ),
    "abs": (inline(jnp.abs, lambda y: y, log1), V, "not bijective"),
    "clip": (inline(lambda x: jnp.clip(x, -1, 1), lambda y: y, log1), V, "not bijective"),
    "softmax": (
        inline(jax.nn.softmax, jnp.log, lambda x: jnp.sum(x, axis=-1), 1),
        V / V.sum(),
        "Jacobian is singular",
    ),
    "half line": (tfb.Invert(tfb.Exp()), V, "takes positive numbers, not all real"),
    "half line, an own one": (
        inline(jnp.log, jnp.exp, lambda x: -jnp.log(x)),
        V,
        "not defined for all free values: NaN",
    ),
    "another inverse": (inline(jnp.exp, lambda y: y, lambda x: x), V, "got .*, expected"),
    "no inverse": (inline(jnp.exp, None, lambda x: x), V, "raised NotImplementedError"),
    "narrower": (
        inline(lambda x: jnp.exp(x).astype(jnp.float16), jnp.log, lambda x: x),
        V,
        "dtype change: forward returns float16 for float32",
    ),
    "embedded": (
        tfb.SoftmaxCentered(),
        V / V.sum(),
        r"embedded measure.*off by 0\.5493 = ½ log 3 an event.*bt\.simplex\(\)",
    ),
    "embedded, a batch": (
        tfb.SoftmaxCentered(),
        np.full((2, 4), 0.25),
        r"off by 0\.6931 = ½ log 4 an event",
    ),
    "unit vector": (
        tfb.UnitVector(),
        np.array([0.6, 0.0, 0.8]),
        r"embedded measure.*off by .* to .*bt\.sphere\(\)",
    ),
    "outer product": (
        tfb.Chain([tfb.CholeskyOuterProduct(), tfb.CorrelationCholesky()]),
        CORR,
        r"wrong log-det.*bt\.corr_matrix\(\)",
    ),
    "on a bound": (
        tfb.Sigmoid(),
        np.array([0.5, 0.0]),
        r"index \[1\]: got 0\..*between 0 and 1; on the boundary, where the free",
    ),
    "outside": (tfb.Exp(), np.array([1.0, -1, -2]), r"index \[1\].*; and 1 more"),
    "not finite": (None, np.array([1.0, np.nan]), "expected a finite number"),
    "saturated": (
        inline(
            jax.nn.sigmoid,
            lambda y: jnp.clip(jnp.log(y) - jnp.log1p(-y), -50, 50),
            lambda x: -jax.nn.softplus(-x) - jax.nn.softplus(x),
        ),
        np.array([1.0, 0.5]),
        "saturated: in float32",
    ),
    "at 0": (tfb.Power(3.0), np.array([0.0, 2.0]), "log-det is -inf at the model's own"),
    "in use": (
        inline(*EXP_LOG, lambda x: x if x.dtype == jnp.float64 else x + 1),
        V,
        "the log-det in float32 is .* its digits are lost; bind it to a leaf of float64",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_catches(case):
    bijector, value, message = WRONG[case]
    model = {"x": jnp.asarray(value, jnp.float32)}
    report = bt.check(bt.Reparam(model, bijector, verify=False), model)
    assert not report.ok
    with pytest.raises(ValueError, match=f"(?s)at 'x'.*{message}"):
        report.raise_if_failed()
    assert report.rows[0].failures[0] in str(report)


# What lies in the model's value, or in its dtype alone.
OF_THE_VALUE = {
    *("no inverse", "narrower", "on a bound", "outside", "not finite", "saturated"),
    "at 0",
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_wherever_is_refused_when_bound_in_the_same_words(case):
    bijector, value, message = WRONG[case]
    model = {"x": jnp.asarray(value, jnp.float32)}
    if case in OF_THE_VALUE:
        bt.Reparam(model, bijector)
        return
    message = message.replace("got 0, autodiff -3.3", "got 0, autodiff")
    message = message.replace("got .*, expected", "not bijective here")
    message = message.replace("free -", "free")
    with pytest.raises(ValueError, match=f"(?s)at 'x': .*{message}"):
        bt.Reparam(model, bijector)


def test_a_map_that_loses_the_digits_of_float32_is_refused_there_alone():
    bijector = tfb.Chain([tfb.CholeskyToInvCholesky(), bt.lower_cholesky()])
    with pytest.raises(ValueError, match="bind it to a leaf of float64"):
        bt.Reparam(jnp.eye(7, dtype=jnp.float32), bijector)
    with jax.enable_x64(True):
        bt.Reparam(jnp.eye(7, dtype=jnp.float64), bijector)


def test_the_embedded_correlation_example():
    # Four variables: TFP's log-det of the product is not that of the strict triangle.
    free = jnp.linspace(-1.0, 1.0, 6)
    bijector = tfb.Chain([tfb.CholeskyOuterProduct(), tfb.CorrelationCholesky()])
    row = checked(bijector, bijector.forward(free))
    assert any("wrong log-det" in failure for failure in row.failures)
    assert not checked(bt.corr_matrix(), bijector.forward(free)).failures


class Mine(tfb.AutoCompositeTensorBijector):
    """exp(rate·x) whose log-det forgets the rate."""

    def __init__(self, rate, name="mine"):
        parameters = dict(locals())
        self.rate = jnp.asarray(rate)
        super().__init__(forward_min_event_ndims=0, parameters=parameters, name=name)

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}

    def _forward(self, x):
        return jnp.exp(self.rate * x)

    def _inverse(self, y):
        return jnp.log(y) / self.rate

    def _forward_log_det_jacobian(self, x):
        return self.rate * x


def test_catches_a_users_own_class(precision):
    (failure,) = checked(Mine(jnp.array(2.0, precision)), V, precision).failures
    assert failure.startswith("wrong log-det: got -3.3242")
    assert "autodiff -1.2447" in failure


def test_one_leaf_that_raises_does_not_hide_the_others():
    def raises(x):
        raise KeyError("no such thing")

    model = {"a": jnp.array(-1.0), "b": jnp.ones(2), "c": jnp.ones(2)}
    spec = {"a": tfb.Exp(), "b": inline(jnp.exp, raises, lambda x: x), "c": tfb.Exp()}
    try:
        reparam = bt.Reparam(model, spec)
    except ValueError:  # seen when bound
        spec["b"] = inline(jnp.exp, None, lambda x: x)
        reparam = bt.Reparam(model, spec)
    report = bt.check(reparam, model)
    assert [bool(row.failures) for row in report.rows] == [True, True, False]
    with pytest.raises(ValueError, match=r"(?s)check.*'a': got -1\..*'b': own raised"):
        report.raise_if_failed()


def test_float32_parameters_on_a_float64_leaf_are_noted():
    with jax.enable_x64(True):
        for bijector in (tfb.Softplus(low=1e-3), tfb.Shift(0.1)):
            row = checked(bijector, V, jnp.float64)
            assert not row.failures
            assert "float32 parameter" in row.notes[0]
        assert not checked(bt.greater_than(1e-3), V, jnp.float64).notes
        list_of_floats = np.array([[1.0, 0.0], [0.3, 0.7]], np.float32)
        row = checked(tfb.ScaleMatvecTriL(list_of_floats), V[:2], jnp.float64)
        assert "a float32 parameter, [[1. , 0. ]" in row.notes[0]


def test_a_wider_dtype_is_a_change_too():
    with jax.enable_x64(True):
        own = inline(lambda x: jnp.exp(x.astype(jnp.float64)), jnp.log, lambda x: x)
        (failure,) = checked(own, V).failures
    assert "dtype change: forward returns float64 for float32" in failure


@pytest.mark.parametrize(
    ("bijector", "value", "dtype", "room"),
    [
        (tfb.Exp(), 1.0, "float32", 88),
        (tfb.Exp(), 1.0, "float16", 11),
        (tfb.Sigmoid(), 0.5, "float32", 17),
        (tfb.Softplus(), 1.0, "float32", 88),
        (bt.positive(), 1.0, "float64", 709),
        (bt.unit_interval(), 0.5, "float64", 37),
    ],
    ids=str,
)
def test_says_how_far_saturation_is(bijector, value, dtype, room):
    with jax.enable_x64(True):
        row = checked(bijector, value, dtype)
    assert float(row.room) == pytest.approx(room, rel=0.06)
    assert not row.failures


def test_near_saturation_is_noted_and_a_line_has_none():
    row = checked(tfb.Sigmoid(), np.nextafter(np.float32(1), np.float32(0)))
    assert not row.failures
    assert "free units from where the map saturates in float32" in row.notes[0]
    assert checked(bt.affine(1.0, 2.0), V).room == "> 1024"


def test_of_large_events_smaller_ones_are_looked_at():
    row = checked(bt.simplex(), np.full(80, 1 / 80))
    assert row.log_det.endswith("off")
    row = checked(bt.simplex(), np.full(300, 1 / 300))
    assert row.log_det.endswith("off")
    assert "299 free coordinates: a smaller leaf" in row.notes[0]
    assert not row.failures
    assert checked(tfb.SoftmaxCentered(), np.full(300, 1 / 300)).failures
    row = checked(tfb.Exp(), np.ones((100, 300)))
    assert row.log_det.endswith("off")
    assert checked(inline(*EXP_LOG, log1), np.ones((100, 300))).failures


def test_maps_that_mix_what_they_declare():
    def differences(axis, y):
        first = jax.lax.slice_in_dim(y, 0, 1, axis=axis)
        return jnp.concatenate([first, jnp.diff(y, axis=axis)], axis=axis)

    def sums(axis):
        forward = functools.partial(jnp.cumsum, axis=axis)
        return forward, functools.partial(differences, axis), log1

    def log1(x):
        return jnp.zeros(x.shape[:1], x.dtype)

    row = checked(inline(*sums(-1)), V)
    assert "an element depends on others" in row.failures[0]
    row = checked(inline(*sums(0), ndims=1), np.ones((3, 2)))
    assert "forward_min_event_ndims" in row.notes[0]
    assert not row.failures


def test_reverse_mode_serves_where_forward_mode_is_missing():
    @jax.custom_vjp
    def exp(x):
        return jnp.exp(x)

    exp.defvjp(lambda x: (jnp.exp(x), jnp.exp(x)), lambda y, g: (g * y,))
    assert not checked(inline(exp, jnp.log, lambda x: x), V).failures
    assert checked(inline(exp, jnp.log, log1), V).failures


def test_held_and_static_leaves():
    model = {"a": jnp.ones(2), "n": 3, "i": jnp.arange(2), "f": jnp.zeros(())}
    spec = {"a": tfb.Exp(), "n": None, "i": None, "f": bt.frozen}
    reparam = bt.Reparam(model, spec)
    assert bt.check(reparam, model).ok
    report = bt.check(reparam, {**model, "n": 4, "f": jnp.ones(())})
    assert {row.path for row in report.rows if row.failures} == {"n", "f"}
    with pytest.raises(ValueError, match=r"(?s)'f': bound with 0\..*got 1\..*bind again"):
        report.raise_if_failed()


def test_models_without_free_leaves():
    assert bt.check(bt.Reparam({}, None), {}).ok
    assert str(bt.check(bt.Reparam({}, None), {})) == "0 rows, all ok"
    model = {"a": jnp.ones(2), "b": jnp.zeros(3)}
    assert bt.check(bt.Reparam(model, bt.frozen), model).ok


def test_joint_dependent_tied_and_then():
    model, spec = together.of_each_sort()
    reparam = bt.Reparam(model, spec)
    bt.check(reparam, model).raise_if_failed()
    report = bt.check(reparam, {**model, "twin": jnp.array(0.2), "beta": jnp.array(0.8)})
    assert {row.path for row in report.rows if row.failures} == {"twin", "beta"}
    outer = bt.check(reparam.then(tfb.Scale(2.0)), model)
    assert outer.ok
    assert outer.rows[-1].path == "(all free coordinates)"
    doubled = inline(lambda x: 2 * x, lambda y: y / 2, log1)
    with pytest.raises(ValueError, match="then: own .*\n.*wrong log-det: got 0, au"):
        reparam.then(doubled)
    wrong = bt.check(reparam.then(doubled, verify=False), model)
    assert [row.path for row in wrong.rows if row.failures] == ["(all free coordinates)"]


def test_values_are_needed():
    model = {"a": jax.ShapeDtypeStruct((2,), jnp.float32)}
    reparam = bt.Reparam(model, tfb.Exp())
    with pytest.raises(ValueError, match=r"needs the model's values\n.*'a'"):
        bt.check(reparam, model)
    with pytest.raises(ValueError, match="traced"):
        jax.jit(lambda m: bt.check(reparam, m).ok)({"a": jnp.ones(2)})


def test_prints_plainly_and_in_colour(monkeypatch):
    model = {"rate": jnp.ones(2), "parts": jnp.array([0.2, 0.3, 0.5])}
    spec = {"rate": tfb.Exp(), "parts": tfb.SoftmaxCentered()}
    report = bt.check(bt.Reparam(model, spec, verify=False), model)
    plain = str(report)
    assert plain.splitlines()[2].split()[:4] == [
        "FAIL",
        "parts",
        "float32[3]",
        "softmax_centered",
    ]
    assert plain.endswith("1 of 2 rows failed")
    assert "\x1b" not in plain
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert str(report) == plain
    with monkeypatch.context() as in_a_notebook:
        in_a_notebook.setattr("rich.console._is_jupyter", lambda: True)
        assert str(report) == plain
    monkeypatch.delenv("FORCE_COLOR")
    for no_color in (False, True):
        if no_color:
            monkeypatch.setenv("NO_COLOR", "1")
        console = Console(force_terminal=True, color_system="standard", width=200)
        with console.capture() as capture:
            console.print(report)
        assert ("\x1b[31m" in capture.get()) is not no_color


def test_is_deterministic_and_leaves_of_a_kind_share_the_work():
    traces = StringIO()  # a list would be read, and seem to change

    def exp(x):
        traces.write(".")
        return jnp.exp(x)

    bijector = inline(exp, jnp.log, lambda x: x)
    model = {str(i): jnp.array([0.5, 1.0 + i]) for i in range(30)}
    one = {"0": model["0"]}
    first = bt.check(bt.Reparam(one, bijector), one)
    before = traces.tell()
    many = bt.check(bt.Reparam(model, bijector), model)
    assert traces.tell() == before
    assert dataclasses.asdict(first.rows[0]) == dataclasses.asdict(many.rows[0])
    assert many.ok


ALARMS = {
    "scaled zero-sum": (tfb.Chain([tfb.Scale(2.0), bt.zero_sum()]), [1.0, -0.5, -0.5]),
    "mirrored zero-sum": (tfb.Chain([tfb.Scale(-3.0), bt.zero_sum()]), [1.0, -0.5, -0.5]),
    "shifted zero-sum": (tfb.Chain([tfb.Shift(1.0), bt.zero_sum()]), [2.0, 0.5, 0.5]),
    "scaled zero-sum of a matrix": (
        tfb.Chain([tfb.Scale(2.0), bt.zero_sum(axis=(-2, -1))]),
        [[1.0, -1.0], [-1.0, 1.0]],
    ),
    "sphere on an axis": (bt.sphere(), [0.0, 0.0, 1.0]),
    "spheres on axes": (bt.sphere(), [[1.0, 0.0], [0.0, -1.0]]),
    "scaled sphere": (tfb.Chain([tfb.Scale(2.0), bt.sphere()]), [2.0, 0.0]),
    "angles at 0 and π": (bt.circular(), [0.0, np.pi, -1e-6]),
    "degrees at 0 and 180": (bt.circular(period=360.0), [0.0, 180.0, 90.0]),
    "an interval's middle": (bt.interval(-1.0, 1.0), [0.0]),
    "the identity correlation": (bt.corr_matrix(), np.eye(3)),
    "equal parts": (bt.simplex(), [0.25] * 4),
}


@pytest.mark.parametrize("name", ALARMS)
def test_what_is_right_raises_no_alarm(name):
    bijector, value = ALARMS[name]
    row = checked(bijector, value)
    assert not row.failures
    assert "saturated" not in " ".join(row.notes)


def test_a_dependent_zero_sum_raises_no_alarm():
    model = {"s": jnp.array(2.0), "x": jnp.array([1.0, -0.5, -0.5])}
    scaled = bt.dependent(
        lambda m: tfb.Chain([tfb.Scale(m["s"]), bt.zero_sum()]), on=("s",)
    )
    assert bt.check(bt.Reparam(model, {"s": bt.positive(), "x": scaled}), model).ok
