"""Filter, smoother and their adjoints as four compiled sweeps over time; same equations as ``sequences.py``.

Numba compiles them on first use and keeps the result on disk. Sixteen sequences are worked on side by side (``tiles.py``), and
all intermediates of a step stay in the first cache. Inputs are read in place, ``[b, t, i, j]`` with any strides (expanded
ones, too).
"""

import math

import numpy as np

from dynarium.ssm.tiles import (
    LANES,
    condition,
    decorrelate,
    factorize,
    identity,
    load,
    load_sensors,
    nn,
    nt,
    set_nn,
    set_tn,
    solve,
    store,
    symmetrize,
    tn,
)

# Each works on the sequences first .. last.


def filter_sweep(A, C, Q, R, y, push, m0, P0, seen, ms, Ps, mps, Pps, lls, first, last):
    """Write filtered and predicted moments and log-likelihoods; column vectors are ``[b, t, n, 1]``."""
    p, n = C.shape[2:]
    dtype = A.dtype
    half, log2pi = dtype.type(0.5), dtype.type(math.log(2 * math.pi))
    work = np.empty((4, n, n, LANES), dtype)
    a, P, Pp, AP = work[0], work[1], work[2], work[3]
    c, r = np.empty((p, n, LANES), dtype), np.empty((p, p, LANES), dtype)
    column = np.empty((4, n, 1, LANES), dtype)
    m, mp, h, k = column[0], column[1], column[2], column[3]
    short = np.empty((3, p, 1, LANES), dtype)
    e, s, here = short[0], short[1], short[2]
    ll = np.empty((1, 1, LANES), dtype)
    for start in range(first, last, LANES):
        for t in range(A.shape[1]):
            if t == 0:
                load(mp, m0, start, 0)
                load(Pp, P0, start, 0)
            else:
                load(a, A, start, t)
                load(mp, push, start, t)
                nn(mp, a, m)
                load(Pp, Q, start, t)
                set_nn(AP, a, P)
                nt(Pp, AP, a)
                symmetrize(Pp, half)
            store(mps, mp, start, t)
            store(Pps, Pp, start, t)
            load_sensors(c, r, e, here, C, R, y, seen, start, t)
            decorrelate(c, e, r)
            m[:] = mp
            P[:] = Pp
            condition(P, m, c, e, r, s, h, k, half)
            ll[:] = 0
            for i in range(p):
                for w in range(e.shape[2]):
                    ll[0, 0, w] -= half * (here[i, 0, w] * log2pi + np.log(s[i, 0, w]) + e[i, 0, w] ** 2 / s[i, 0, w])
            store(ms, m, start, t)
            store(Ps, P, start, t)
            store(lls, ll, start, t)


def filter_adjoint_sweep(
    A, C, R, y, seen, ms, Ps, mps, Pps, gms, gPs, gmps, gPps, gls, gA, gC, gQ, gR, gy, gpush, gm0, gP0, first, last
):
    """Write the cotangents of A, C, Q, R, y, push, m0, P0, given those of what ``filter_sweep`` writes."""
    p, n = C.shape[2:]
    dtype, half, two = A.dtype, A.dtype.type(0.5), A.dtype.type(2)
    work = np.empty((7, n, n, LANES), dtype)
    a, P, Pp, J, gP, Lambda, LA = work[0], work[1], work[2], work[3], work[4], work[5], work[6]
    wide = np.empty((4, p, n, LANES), dtype)
    c, cd, KL, B = wide[0], wide[1], wide[2], wide[3]
    K = np.empty((n, p, LANES), dtype)
    small = np.empty((5, p, p, LANES), dtype)
    r, V, Vs, inverse, S = small[0], small[1], small[2], small[3], small[4]
    column = np.empty((6, n, 1, LANES), dtype)
    mp, m, gm, mu, h, k = column[0], column[1], column[2], column[3], column[4], column[5]
    short = np.empty((6, p, 1, LANES), dtype)
    e, s, here, alpha, kappa, gr = short[0], short[1], short[2], short[3], short[4], short[5]
    gl = np.empty((1, 1, LANES), dtype)
    for start in range(first, last, LANES):
        gm[:] = 0
        gP[:] = 0
        for t in range(A.shape[1] - 1, -1, -1):
            # everything that reaches the filtered moments of this step
            load(m, gms, start, t)
            np.add(gm, m, gm)
            load(P, gPs, start, t)
            symmetrize(P, half)
            np.add(gP, P, gP)
            load(gl, gls, start, t)
            # once more the update: gain K and S^-1 = V' diag(1/s) V
            load(mp, mps, start, t)
            load(Pp, Pps, start, t)
            load_sensors(c, r, e, here, C, R, y, seen, start, t)
            cd[:] = c
            identity(V)
            decorrelate(cd, V, r)
            P[:] = Pp
            K[:] = 0
            condition(P, K, cd, V, r, s, h, k, half)
            for i in range(p):
                for j in range(p):
                    for w in range(e.shape[2]):
                        Vs[i, j, w] = V[i, j, w] / s[i, 0, w]
            set_tn(inverse, V, Vs)
            # the cotangents of innovation and innovation covariance
            np.negative(mp, k)
            nn(e, c, k)
            set_nn(alpha, inverse, e)
            set_tn(kappa, K, gm)
            for i in range(p):
                for w in range(e.shape[2]):
                    gr[i, 0, w] = kappa[i, 0, w] - gl[0, 0, w] * alpha[i, 0, w]
                for j in range(p):
                    for w in range(e.shape[2]):
                        both = kappa[i, 0, w] * alpha[j, 0, w] + alpha[i, 0, w] * kappa[j, 0, w]
                        surprise = alpha[i, 0, w] * alpha[j, 0, w] - inverse[i, j, w]
                        S[i, j, w] = half * (gl[0, 0, w] * surprise - both)
            store(gy, gr, start, t)
            # C: alpha (Pp gm)' - gr mp' + 2 S C Pp - 2 K' gP P
            set_tn(KL, K, gP)
            set_nn(B, S, c)
            set_nn(cd, B, Pp)
            np.negative(P, LA)
            nn(cd, KL, LA)
            np.multiply(cd, two, cd)
            set_nn(h, Pp, gm)
            nt(cd, alpha, h)
            nt(cd, gr, k)
            store(gC, cd, start, t)
            # prediction: J' gP J + sym(gm (C' alpha)') + C' S C, and J' gm + gl C' alpha
            identity(J)
            np.negative(c, cd)
            nn(J, K, cd)
            set_nn(LA, gP, J)
            load(Lambda, gPps, start, t)
            tn(Lambda, J, LA)
            tn(Lambda, c, B)
            set_tn(k, c, alpha)
            nt(Lambda, gm, k)
            symmetrize(Lambda, half)
            load(mu, gmps, start, t)
            tn(mu, J, gm)
            for i in range(n):
                for w in range(e.shape[2]):
                    mu[i, 0, w] += gl[0, 0, w] * k[i, 0, w]
            nn(S, KL, K)
            for i in range(p):
                for j in range(p):
                    for w in range(e.shape[2]):
                        S[i, j, w] *= here[i, 0, w] * here[j, 0, w]
            store(gR, S, start, t)
            if t == 0:
                store(gm0, mu, start, 0)
                store(gP0, Lambda, start, 0)
                break
            store(gpush, mu, start, t)
            store(gQ, Lambda, start, t)
            load(a, A, start, t)
            load(m, ms, start, t - 1)
            load(P, Ps, start, t - 1)
            set_nn(LA, Lambda, a)
            set_tn(gP, a, LA)
            set_nn(J, LA, P)
            np.multiply(J, two, J)
            nt(J, mu, m)
            store(gA, J, start, t)
            set_tn(gm, a, mu)


def smoother_sweep(A, Q, m, P, mp, Pp, ms, Ps, cross, Gs, first, last):
    """Write smoothed moments, covariances across steps and gains; False if a prediction is not positive definite."""
    n = A.shape[2]
    dtype, half = A.dtype, A.dtype.type(0.5)
    work = np.empty((9, n, n, LANES), dtype)
    a, Pf, Pn, S, Gt = work[0], work[1], work[2], work[3], work[4]
    G, J, B, out = work[5], work[6], work[7], work[8]
    column = np.empty((3, n, 1, LANES), dtype)
    mn, d, inverse = column[0], column[1], column[2]
    positive = True
    steps = A.shape[1]
    for start in range(first, last, LANES):
        load(mn, m, start, steps - 1)
        load(Pn, P, start, steps - 1)
        store(ms, mn, start, steps - 1)
        store(Ps, Pn, start, steps - 1)
        for t in range(steps - 2, -1, -1):
            load(a, A, start, t + 1)
            load(Pf, P, start, t)
            load(S, Pp, start, t + 1)
            positive &= factorize(S, inverse)
            set_nn(Gt, a, Pf)
            solve(S, inverse, Gt)
            for i in range(n):
                for j in range(n):
                    for w in range(d.shape[2]):
                        G[i, j, w] = Gt[j, i, w]
            store(Gs, G, start, t)
            # mean: m + G (m_next - m_predicted)
            load(d, mp, start, t + 1)
            np.subtract(mn, d, d)
            load(mn, m, start, t)
            nn(mn, G, d)
            store(ms, mn, start, t)
            # covariances: P_next G', then J P J' + G (Q + P_next) G'
            set_nn(B, Pn, Gt)
            store(cross, B, start, t)
            load(S, Q, start, t + 1)
            nn(B, S, Gt)
            set_nn(out, G, B)
            identity(J)
            np.negative(a, a)
            nn(J, G, a)
            B[:] = 0
            nt(B, Pf, J)
            nn(out, J, B)
            symmetrize(out, half)
            store(Ps, out, start, t)
            Pn[:] = out
    return positive


def smoother_adjoint_sweep(A, P, mp, Pp, ms, Ps, Gs, gms, gPs, gcross, gA, gQ, gm, gP, gmp, gPp, first, last):
    """Write the cotangents of A, Q, m, P, mp, Pp, given those of what ``smoother_sweep`` writes."""
    n = A.shape[2]
    dtype, half, two = A.dtype, A.dtype.type(0.5), A.dtype.type(2)
    work = np.empty((12, n, n, LANES), dtype)
    a, Pf, S, G, J, B = work[0], work[1], work[2], work[3], work[4], work[5]
    U, Un, UG, Y, X, out = work[6], work[7], work[8], work[9], work[10], work[11]
    column = np.empty((4, n, 1, LANES), dtype)
    mu, d, v, inverse = column[0], column[1], column[2], column[3]
    steps = A.shape[1]
    for start in range(first, last, LANES):
        mu[:] = 0
        U[:] = 0
        for t in range(steps):
            load(v, gms, start, t)
            np.add(mu, v, mu)
            load(B, gPs, start, t)
            symmetrize(B, half)
            np.add(U, B, U)
            store(gm, mu, start, t)
            if t == steps - 1:
                store(gP, U, start, t)
                break
            load(a, A, start, t + 1)
            load(G, Gs, start, t)
            load(Pf, P, start, t)
            load(X, gcross, start, t)
            set_nn(UG, U, G)
            # the gain: mu (m_next - m_predicted)' + (2 U G + X') P_next; all of it through the inverse: Y' = Pp^-1 (..)'
            load(v, ms, start, t + 1)
            load(d, mp, start, t + 1)
            np.subtract(v, d, d)
            load(B, Ps, start, t + 1)
            np.multiply(UG, two, J)
            Y[:] = 0
            nt(Y, B, J)
            nn(Y, B, X)
            nt(Y, d, mu)
            load(S, Pp, start, t + 1)
            factorize(S, inverse)
            solve(S, inverse, Y)  # holds Y'
            # A: Y' P - 2 G' U J P
            identity(J)
            np.negative(a, B)
            nn(J, G, B)
            set_nn(B, J, Pf)
            np.multiply(B, -two, B)
            set_nn(out, Y, Pf)
            tn(out, UG, B)
            store(gA, out, start, t + 1)
            # Q: G' U G
            set_tn(Un, G, UG)
            store(gQ, Un, start, t + 1)
            # P: J' U J + sym(Y A)
            set_nn(B, U, J)
            set_tn(out, J, B)
            tn(out, Y, a)
            symmetrize(out, half)
            store(gP, out, start, t)
            # predictions: -G' mu and -sym(G' Y)
            set_tn(v, G, mu)
            mu[:] = v
            np.negative(v, v)
            store(gmp, v, start, t + 1)
            set_nn(B, Y, G)
            symmetrize(B, half)
            np.negative(B, B)
            store(gPp, B, start, t + 1)
            # next step: G' U G + sym(X G)
            set_nn(out, X, G)
            symmetrize(out, half)
            U[:] = Un
            np.add(U, out, U)
