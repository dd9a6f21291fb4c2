"""The prior and the spec of a model whose leaves are latent sites."""

from typing import Any, NamedTuple

from ..posterior import spec_from_prior
from ..priors import build
from ..reparam import dependent
from ..trees import raise_all
from .latents import shapes_of
from .program import Program, Traced
from .site_functions import SiteDensity, SiteDistribution, SiteSupport, read_by


class BySite(NamedTuple):
    """What stands at the leaves of a model, each by the name of its site.

    Attributes:
        model: the shapes of the sites.
        prior: a distribution, a dependent one, or `None` where the density is 1. Of
            sites that depend on each other in a cycle, the first has the densities of
            all.
        spec: of the sites.
    """

    model: dict[str, Any]
    prior: dict[str, Any]
    spec: dict[str, Any]


def by_site(program: Program, arrays: tuple[Any, ...]) -> BySite:
    """The prior and the spec of a program.

    Raises:
        ValueError: sites whose support depends on their own values; what
            `spec_from_prior` refuses. All sites are listed.
    """
    traced, model = program.trace(), shapes_of(dict(program.latents))
    raise_all(
        "from_numpyro: some sites of the model cannot be taken over",
        (
            f"'{name}' is bounded by its own values at other steps of a scan, so that no "
            "map gives all of it at once; sample its increments, or the site without "
            "bounds"
            for name in program.names
            if name in traced.part(("onto", name)).values
        ),
    )
    groups = _groups(program)
    prior: dict[str, Any] = dict.fromkeys(model)
    spec: dict[str, Any] = dict.fromkeys(model)
    alone = [
        group[0]
        for group in groups
        if len(group) == 1 and _is_distribution(traced, group[0])
    ]
    for name in alone:
        prior[name] = _distribution(program, name, arrays)
    spec = spec_from_prior(model, prior, noncentred=True)
    for group in groups:
        if group[0] in alone:
            continue
        for name in group:
            counted = group if name == group[0] else ()
            if not traced.record.priors[name].flat:
                prior[name] = dependent(SiteDensity(program, name, counted, arrays))
            spec[name] = _onto_support(program, name, arrays)
    return BySite(model, prior, spec)


def _is_distribution(traced: Traced, name: str) -> bool:
    """Whether a distribution that others may set has the density of a site."""
    found = traced.record.priors[name].recipe is not None
    return found and name not in traced.part(("numbers", name)).values


def _distribution(program: Program, name: str, arrays: tuple[Any, ...]) -> Any:
    """The distribution of a site, or what makes it of the model."""
    traced = program.trace()
    part, prior = traced.part(("numbers", name)), traced.record.priors[name]
    if prior.constant is not None:
        return prior.constant
    if part.values:
        return dependent(SiteDistribution(program, name, arrays))
    assert prior.recipe is not None
    (numbers,) = part.compiled()(read_by(part, arrays), {})
    return build(prior.recipe, numbers)


def _onto_support(program: Program, name: str, arrays: tuple[Any, ...]) -> Any:
    """The bijector onto the support of a site, or what makes it of the model."""
    traced = program.trace()
    part = traced.part(("onto", name))
    if part.values:
        return dependent(SiteSupport(program, name, arrays))
    (numbers,) = part.compiled()(read_by(part, arrays), {})
    return traced.record.priors[name].onto.build(numbers)


def _groups(program: Program) -> list[tuple[str, ...]]:
    """The latent sites, those together that depend on each other in a cycle."""
    traced = program.trace()
    reads = {
        name: set(traced.part(("density", name)).values) - {name}
        for name in program.names
    }
    reached = {name: _reached(name, reads) for name in reads}
    groups: list[tuple[str, ...]] = []
    for name in program.names:
        together = [x for x in reached[name] if name in reached[x]]
        group = tuple(sorted({name, *together}))
        if group not in groups:
            groups.append(group)
    return groups


def _reached(name: str, reads: dict[str, set[str]]) -> set[str]:
    """The sites that a site depends on, over any number of others."""
    found: set[str] = set()
    rest = [name]
    while rest:
        for other in reads[rest.pop()] - found:
            found.add(other)
            rest.append(other)
    return found
