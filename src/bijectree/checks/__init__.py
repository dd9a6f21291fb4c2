"""Every bijector held to its promises."""

from .check import check as check
