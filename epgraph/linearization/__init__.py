"""The network to first order at an equilibrium: products with the Hessian, Krylov solvers, sweeps under autograd."""
