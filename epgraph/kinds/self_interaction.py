"""Interaction of a state with itself: quadratic and symmetric."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from epgraph.kinds.convolution import correlate
from epgraph.kinds.kind import End, Positive, Shape, ShapeError, shape_text
from epgraph.kinds.products import matrix_product
from epgraph.kinds.unary import Unary

if TYPE_CHECKING:
    from torch import Tensor


class Self(Unary):
    """Φ gains ½⟨s, W s⟩ with W symmetric: lateral weights inside one state, over all its units or as a convolution.

    The parameter w has the layout of a dense edge, (units, units), or of a convolution, (channels, channels, kernel,
    kernel). W is its symmetric part: ½(w + wᵀ), or ½(w(d) + w(−d)ᵀ) at every offset d. ``zero_diagonal`` sets the
    diagonal (of the middle tap) to zero. The gradient is symmetric too, so a symmetric w stays symmetric. Weight decay
    is linear, so it decays W.
    """

    name: ClassVar[str] = "self"
    damps: ClassVar[bool] = True

    kernel: Positive | None = Field(
        default=None,
        description="Side of a square kernel, odd: a convolution that keeps the shape of an image; left out, one "
        "weight for every pair of units.",
        examples=[3],
    )
    zero_diagonal: bool = Field(default=True, description="Whether no unit acts on itself.", examples=[True])

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int | None) -> int | None:
        if kernel is not None and kernel % 2 == 0:
            raise PydanticCustomError(
                "kernel_even",
                "'kernel' of a state's interaction with itself must be odd, found {kernel}",
                {"kernel": kernel, "hint": f"kernel: {kernel + 1} keeps the shape, and has a middle"},
            )
        return kernel

    @property
    def source_end(self) -> End:
        """Quadratic: W is in general neither positive nor negative semidefinite."""
        return "neither"

    def target_shape(self, source: Shape, channels: int | None) -> Shape | None:
        """Return the state's own shape; a kernel needs an image."""
        if self.kernel is not None and len(source) != 3:
            raise ShapeError(
                f"has a kernel and needs channels×height×width, but the state is {shape_text(source)}",
                "leave 'kernel' out for a weight between every two units",
            )
        alone = source[0] == 1 if self.kernel == 1 else prod(source) == 1
        if alone and self.zero_diagonal:
            raise ShapeError("has one unit to act on, and zero_diagonal leaves nothing", "set zero_diagonal: false")
        return source

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        """(units, units), or OIHW: (channels, channels, kernel, kernel)."""
        if self.kernel is None:
            return (prod(source), prod(source))
        return (source[0], source[0], self.kernel, self.kernel)

    def macs(self, source: Shape, target: Shape) -> int:
        """One per weight, for every pixel of a convolution."""
        return prod(self.weight_shape(source, target)) * (prod(source[1:]) if self.kernel else 1)

    def label(self) -> str:
        """E.g. ``self 3×3``."""
        return "self" + (f" {self.kernel}×{self.kernel}" if self.kernel else "")

    def potential(self, weight: Tensor, s: Tensor, shape: Shape) -> Tensor:
        """½⟨s, W s⟩ of each example, (batch,)."""
        return 0.5 * (s * self.forward(weight, s, shape)).flatten(1).sum(1)

    def forward(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """Return W s."""
        import torch.nn.functional as F

        assert weight is not None
        symmetric = self.symmetric(weight)
        if self.kernel is None:
            return matrix_product(s.flatten(1), symmetric).view(-1, *target)
        return F.conv2d(s, symmetric, padding=self.kernel // 2)

    def symmetric(self, w: Tensor) -> Tensor:
        """W, the symmetric part of w that acts. It also maps a gradient with respect to W to one with respect to w."""
        import torch
        import torch.nn.functional as F

        if self.kernel is None:
            symmetric = 0.5 * (w + w.T)
            return symmetric - torch.diag_embed(torch.diagonal(symmetric)) if self.zero_diagonal else symmetric
        symmetric = 0.5 * (w + w.flip(2, 3).transpose(0, 1))
        if not self.zero_diagonal:
            return symmetric
        middle = self.kernel // 2
        diagonal = torch.diag_embed(torch.diagonal(symmetric[:, :, middle, middle]))
        return symmetric - F.pad(diagonal[:, :, None, None], (middle,) * 4)

    def weight_gradient(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """½ t sᵀ summed over the batch, made symmetric."""
        return self.symmetric(self._outer(s, t)) * 0.5

    def weight_contrast(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """o cᵀ summed over the batch, made symmetric, with half the products of the base class."""
        return self.symmetric(self._outer(s.chunk(2)[0], t.chunk(2)[1]))

    def concavity(self, weight: Tensor, shape: Shape) -> Tensor:
        """Return a bound of ‖W‖.

        An image with a border of zeros is part of a torus so large that no kernel wraps around to the image. On the
        torus, the Fourier transform splits the convolution into one matrix over the channels for each frequency. Taps
        that reach beyond the image act on no pixel and are cut off.
        """
        import torch

        symmetric = self.symmetric(weight)
        if self.kernel is None:
            return spectral_bound(symmetric)
        middle = self.kernel // 2
        tall, wide = (min(middle, n - 1) for n in shape[1:])
        within = symmetric[:, :, middle - tall : middle + tall + 1, middle - wide : middle + wide + 1]
        symbol = torch.fft.rfft2(within, s=[shape[1] + tall, shape[2] + wide])
        return spectral_bound(symbol.permute(2, 3, 0, 1))

    def _outer(self, s: Tensor, t: Tensor) -> Tensor:
        if self.kernel is None:
            return matrix_product(t.flatten(1).T, s.flatten(1))
        return correlate(s, t, self.kernel, 1, self.kernel // 2)


def spectral_bound(matrix: Tensor) -> Tensor:
    """Return an upper bound of all |eigenvalues| of the Hermitian matrices (…, n, n), too large by at most n^{1/32}.

    The Frobenius norm of W^k is (Σ λ^{2k})^{1/2}; here k is 16, by squaring.
    """
    import torch
    from torch.overrides import handle_torch_function, has_torch_function

    if has_torch_function((matrix,)):
        # Recorded by torch.fx as one call.
        result: Tensor = handle_torch_function(spectral_bound, (matrix,), matrix)
        return result
    logarithm: Tensor | float = 0.0
    part = 1.0
    for _ in range(4):
        size = torch.linalg.vector_norm(matrix, dim=(-2, -1), keepdim=True)
        size = size.clamp_min(torch.finfo(size.dtype).tiny)
        # Scaled to norm 1 before every squaring, so that nothing overflows and the largest eigenvalue does not vanish.
        logarithm = logarithm + part * size.log()
        matrix = matrix / size
        matrix = matrix @ matrix
        part *= 0.5
    last = torch.linalg.vector_norm(matrix, dim=(-2, -1), keepdim=True)
    bounds: Tensor = (logarithm + part * last.clamp_min(torch.finfo(last.dtype).tiny).log()).exp()
    return bounds.max()
