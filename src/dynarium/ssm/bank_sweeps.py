"""A bank of Kalman filters, one step of every regime from a common past, and its adjoint, as compiled sweeps over time.

Tiles and their layout are those of ``tiles.py``: ``[i, j, lane]``, and here ``[regime, i, j, lane]``. What is shared by all
sequences comes with one sequence, ``[1, k, i, j]``.
"""

import math

import numpy as np

from dynarium.ssm.tiles import (
    LANES,
    condition,
    decorrelate,
    identity,
    load,
    nn,
    nt,
    set_nn,
    set_tn,
    store,
    symmetrize,
    tile,
    tn,
)


@tile
def load_regimes(out, source):
    """Copy the matrices of all regimes to every lane."""
    for k in range(out.shape[0]):
        load(out[k], source, 0, k)


@tile
def load_sensors(c, r, e, here, C, R, source_y, source_seen, start, t):
    """Load C, R, y of a step, of which everything or nothing is seen; unseen: C = 0, R = 1, y = 0."""
    for w in range(c.shape[2]):
        b = min(start + w, source_y.shape[0] - 1)
        seen = source_seen[b, t, 0]
        here[0, 0, w] = seen
        for i in range(c.shape[0]):
            e[i, 0, w] = source_y[b, t, i, 0] if seen else 0
            for j in range(c.shape[1]):
                c[i, j, w] = C[i, j, w] if seen else 0
            for j in range(c.shape[0]):
                r[i, j, w] = R[i, j, w] if seen else i == j


@tile
def predict(m, P, A, push, Q, mp, Pp, AP, half):
    """``mp = A m + push``, ``Pp = A P A' + Q``."""
    mp[:] = push
    nn(mp, A, m)
    Pp[:] = Q
    set_nn(AP, A, P)
    nt(Pp, AP, A)
    symmetrize(Pp, half)


def bank_sweep(y, A, C, Q, R, push, initial, transition, tilt, m0, P0, seen, psis, lls, ws, ms, Ps, first, last):
    """Write potentials, their log-normaliser under the prior of the step, filtered weights, collapsed moments.

    ``transition[:, t]`` leads into step t and holds probabilities, as ``initial`` does; both get a floor of 1e-20.
    """
    K, n, p = A.shape[1], A.shape[2], C.shape[2]
    dtype = A.dtype
    half, log2pi, floor = dtype.type(0.5), dtype.type(math.log(2 * math.pi)), dtype.type(1e-20)
    fixed = np.empty((2, K, n, n, LANES), dtype)
    a, q = fixed[0], fixed[1]
    C_all, r_all = np.empty((K, p, n, LANES), dtype), np.empty((p, p, LANES), dtype)
    Pk, mk, pushes = (
        np.empty((K, n, n, LANES), dtype),
        np.empty((K, n, 1, LANES), dtype),
        np.empty((K, n, LANES), dtype),
    )
    square = np.empty((2, n, n, LANES), dtype)
    P, AP = square[0], square[1]
    c, r = np.empty((p, n, LANES), dtype), np.empty((p, p, LANES), dtype)
    column = np.empty((4, n, 1, LANES), dtype)
    m, h, gain, d = column[0], column[1], column[2], column[3]
    e, s, here = np.empty((p, 1, LANES), dtype), np.empty((p, 1, LANES), dtype), np.empty((1, 1, LANES), dtype)
    psi, w, prior = np.empty((K, 1, LANES), dtype), np.empty((K, 1, LANES), dtype), np.empty((K, 1, LANES), dtype)
    T = np.empty((K, K, LANES), dtype)
    top, total = np.empty((1, 1, LANES), dtype), np.empty((1, 1, LANES), dtype)
    load_regimes(a, A)
    load_regimes(q, Q)
    load_regimes(C_all, C)
    load(r_all, R, 0, 0)
    for start in range(first, last, LANES):
        for t in range(y.shape[1]):
            if t == 0:
                load(prior, initial, start, 0)
            else:
                load(T, transition, start, t)
                load(pushes, push, start, t)
                set_tn(prior, T, w)
            load(psi, tilt, start, t)
            for k in range(K):
                if t == 0:
                    load(mk[k], m0, start, 0)
                    load(Pk[k], P0, start, 0)
                else:
                    for i in range(n):
                        d[i, 0] = pushes[k, i]
                    predict(m, P, a[k], d, q[k], mk[k], Pk[k], AP, half)
                load_sensors(c, r, e, here, C_all[k], r_all, y, seen, start, t)
                decorrelate(c, e, r)
                condition(Pk[k], mk[k], c, e, r, s, h, gain, half)
                for i in range(p):
                    for v in range(e.shape[2]):
                        psi[k, 0, v] -= half * (
                            here[0, 0, v] * log2pi + np.log(s[i, 0, v]) + e[i, 0, v] ** 2 / s[i, 0, v]
                        )
            top[:] = psi[:1]
            for k in range(1, K):
                np.maximum(top[0], psi[k], top[0])
            total[:] = 0
            for k in range(K):
                for v in range(w.shape[2]):
                    w[k, 0, v] = (prior[k, 0, v] + floor) * np.exp(psi[k, 0, v] - top[0, 0, v])
                    total[0, 0, v] += w[k, 0, v]
            m[:] = 0
            for k in range(K):
                for v in range(w.shape[2]):
                    w[k, 0, v] /= total[0, 0, v]
                for i in range(n):
                    for v in range(w.shape[2]):
                        m[i, 0, v] += w[k, 0, v] * mk[k, i, 0, v]
            P[:] = 0
            for k in range(K):
                np.subtract(mk[k], m, d)
                for i in range(n):
                    for j in range(n):
                        for v in range(w.shape[2]):
                            P[i, j, v] += w[k, 0, v] * (Pk[k, i, j, v] + d[i, 0, v] * d[j, 0, v])
            for v in range(w.shape[2]):
                top[0, 0, v] += np.log(total[0, 0, v])
            store(psis, psi, start, t)
            store(lls, top, start, t)
            store(ws, w, start, t)
            store(ms, m, start, t)
            store(Ps, P, start, t)


def bank_adjoint_sweep(
    y, A, C, Q, R, push, initial, transition, m0, P0, seen, psis, lls, ws, ms, Ps, gpsis, glls,
    gy, gA, gC, gQ, gpush, ginitial, gtransition, gtilt, first, last,
):  # fmt: skip
    """Write the cotangents of what ``bank_sweep`` reads, but R, m0, P0; those of A, C, Q per sequence."""
    K, n, p = A.shape[1], A.shape[2], C.shape[2]
    dtype = A.dtype
    half, two = dtype.type(0.5), dtype.type(2)
    fixed = np.empty((6, K, n, n, LANES), dtype)
    a, q, P_plus, P_pred, gAs, gQs = fixed[0], fixed[1], fixed[2], fixed[3], fixed[4], fixed[5]
    C_all, gCs, r_all = (
        np.empty((K, p, n, LANES), dtype),
        np.empty((K, p, n, LANES), dtype),
        np.empty((p, p, LANES), dtype),
    )
    gains, inverses = np.empty((K, n, p, LANES), dtype), np.empty((K, p, p, LANES), dtype)
    means = np.empty((3, K, n, 1, LANES), dtype)
    m_plus, m_pred, apart = means[0], means[1], means[2]
    alphas = np.empty((K, p, 1, LANES), dtype)
    pushes = np.empty((K, n, LANES), dtype)
    square = np.empty((8, n, n, LANES), dtype)
    P, AP, gP, before, J, G, W, X = (
        square[0],
        square[1],
        square[2],
        square[3],
        square[4],
        square[5],
        square[6],
        square[7],
    )
    wide = np.empty((3, p, n, LANES), dtype)
    c, cd, KG = wide[0], wide[1], wide[2]
    small = np.empty((4, p, p, LANES), dtype)
    r, V, Vs, S = small[0], small[1], small[2], small[3]
    column = np.empty((8, n, 1, LANES), dtype)
    m, h, gain, d, gm, g, gm_before, u = (
        column[0], column[1], column[2], column[3], column[4], column[5], column[6], column[7]
    )  # fmt: skip
    short = np.empty((5, p, 1, LANES), dtype)
    e, s, kappa, gr, gys = short[0], short[1], short[2], short[3], short[4]
    here, mean, ll, gl = (
        np.empty((1, 1, LANES), dtype),
        np.empty((1, 1, LANES), dtype),
        np.empty((1, 1, LANES), dtype),
        np.empty((1, 1, LANES), dtype),
    )
    several = np.empty((6, K, 1, LANES), dtype)
    psi, w, gw, gprior, lift, w_before = several[0], several[1], several[2], several[3], several[4], several[5]
    T, gT = np.empty((K, K, LANES), dtype), np.empty((K, K, LANES), dtype)
    load_regimes(a, A)
    load_regimes(q, Q)
    load_regimes(C_all, C)
    load(r_all, R, 0, 0)
    for start in range(first, last, LANES):
        gm[:] = 0
        gP[:] = 0
        gw[:] = 0
        gAs[:] = 0
        gQs[:] = 0
        gCs[:] = 0
        for t in range(y.shape[1] - 1, -1, -1):
            load(w, ws, start, t)
            load(psi, psis, start, t)
            load(ll, lls, start, t)
            load(gl, glls, start, t)
            load(lift, gpsis, start, t)
            load(u, ms, start, t)
            if t > 0:
                load(m, ms, start, t - 1)
                load(P, Ps, start, t - 1)
                load(w_before, ws, start, t - 1)
                load(T, transition, start, t)
                load(pushes, push, start, t)
            # once more every regime: moments before and after the update, gain, S^-1 and S^-1 times the innovation
            for k in range(K):
                if t == 0:
                    load(m_pred[k], m0, start, 0)
                    load(P_pred[k], P0, start, 0)
                else:
                    for i in range(n):
                        d[i, 0] = pushes[k, i]
                    predict(m, P, a[k], d, q[k], m_pred[k], P_pred[k], AP, half)
                load_sensors(c, r, e, here, C_all[k], r_all, y, seen, start, t)
                cd[:] = c
                identity(V)
                decorrelate(cd, V, r)
                P_plus[k] = P_pred[k]
                gains[k] = 0
                condition(P_plus[k], gains[k], cd, V, r, s, h, gain, half)
                for i in range(p):
                    for j in range(p):
                        for v in range(e.shape[2]):
                            Vs[i, j, v] = V[i, j, v] / s[i, 0, v]
                set_tn(inverses[k], V, Vs)
                np.negative(m_pred[k], h)
                nn(e, c, h)
                set_nn(alphas[k], inverses[k], e)
                m_plus[k] = m_pred[k]
                nn(m_plus[k], gains[k], e)
                np.subtract(m_plus[k], u, apart[k])
                # what reaches the weight through the collapsed moments
                for i in range(n):
                    for v in range(e.shape[2]):
                        gw[k, 0, v] += gm[i, 0, v] * m_plus[k, i, 0, v]
                    for j in range(n):
                        for v in range(e.shape[2]):
                            spread = P_plus[k, i, j, v] + apart[k, i, 0, v] * apart[k, j, 0, v]
                            gw[k, 0, v] += gP[i, j, v] * spread
            mean[:] = 0
            for k in range(K):
                for v in range(w.shape[2]):
                    mean[0, 0, v] += w[k, 0, v] * gw[k, 0, v]
            for k in range(K):
                for v in range(w.shape[2]):
                    # the weight is prior exp(psi - ll)
                    reach = gw[k, 0, v] - mean[0, 0, v] + gl[0, 0, v]
                    gprior[k, 0, v] = np.exp(psi[k, 0, v] - ll[0, 0, v]) * reach
                    lift[k, 0, v] += w[k, 0, v] * reach
            store(gtilt, lift, start, t)
            gys[:] = 0
            gm_before[:] = 0
            before[:] = 0
            for k in range(K):
                load_sensors(c, r, e, here, C_all[k], r_all, y, seen, start, t)
                # the cotangents of this regime's mean and covariance after the update
                for i in range(n):
                    for v in range(w.shape[2]):
                        g[i, 0, v] = gm[i, 0, v]
                    for j in range(n):
                        for v in range(w.shape[2]):
                            g[i, 0, v] += two * gP[i, j, v] * apart[k, j, 0, v]
                            G[i, j, v] = w[k, 0, v] * gP[i, j, v]
                    for v in range(w.shape[2]):
                        g[i, 0, v] *= w[k, 0, v]
                # of the innovation, and of its covariance
                set_tn(kappa, gains[k], g)
                for i in range(p):
                    for v in range(w.shape[2]):
                        gr[i, 0, v] = kappa[i, 0, v] - lift[k, 0, v] * alphas[k, i, 0, v]
                        gys[i, 0, v] += gr[i, 0, v]
                    for j in range(p):
                        for v in range(w.shape[2]):
                            both = kappa[i, 0, v] * alphas[k, j, 0, v] + alphas[k, i, 0, v] * kappa[j, 0, v]
                            surprise = alphas[k, i, 0, v] * alphas[k, j, 0, v] - inverses[k, i, j, v]
                            S[i, j, v] = half * (lift[k, 0, v] * surprise - both)
                # C: alpha (Pp g)' - gr mp' + 2 S C Pp - 2 K' G P
                set_nn(h, P_pred[k], g)
                set_nn(cd, S, c)
                set_nn(KG, cd, P_pred[k])
                gCs_k = gCs[k]
                for i in range(p):
                    for j in range(n):
                        for v in range(w.shape[2]):
                            gCs_k[i, j, v] += (
                                two * KG[i, j, v] + alphas[k, i, 0, v] * h[j, 0, v] - gr[i, 0, v] * m_pred[k, j, 0, v]
                            )
                set_tn(KG, gains[k], G)
                set_nn(cd, KG, P_plus[k])
                for i in range(p):
                    for j in range(n):
                        for v in range(w.shape[2]):
                            gCs_k[i, j, v] -= two * cd[i, j, v]
                # Pp: J' G J + C' S C + sym(g (C' alpha)')
                identity(J)
                np.negative(gains[k], gains[k])
                nn(J, gains[k], c)
                set_nn(X, G, J)
                set_tn(W, J, X)
                set_nn(cd, S, c)
                tn(W, c, cd)
                set_tn(h, c, alphas[k])
                for i in range(n):
                    for j in range(n):
                        for v in range(w.shape[2]):
                            W[i, j, v] += half * (g[i, 0, v] * h[j, 0, v] + h[i, 0, v] * g[j, 0, v])
                symmetrize(W, half)
                # mp: g - C' gr
                set_tn(h, c, gr)
                np.subtract(g, h, g)
                if t > 0:
                    for i in range(n):
                        pushes[k, i] = g[i, 0]
                    np.add(gQs[k], W, gQs[k])
                    set_nn(AP, W, a[k])
                    set_nn(X, AP, P)
                    gA_k = gAs[k]
                    for i in range(n):
                        for j in range(n):
                            for v in range(w.shape[2]):
                                gA_k[i, j, v] += two * X[i, j, v] + g[i, 0, v] * m[j, 0, v]
                    tn(gm_before, a[k], g)
                    tn(before, a[k], AP)
            store(gy, gys, start, t)
            if t == 0:
                store(ginitial, gprior, start, 0)
            else:
                store(gpush, pushes, start, t)
                for i in range(K):
                    for j in range(K):
                        for v in range(w.shape[2]):
                            gT[i, j, v] = w_before[i, 0, v] * gprior[j, 0, v]
                store(gtransition, gT, start, t)
                set_nn(gw, T, gprior)
                gm[:] = gm_before
                gP[:] = before
        for k in range(K):
            store(gA, gAs[k], start, k)
            store(gC, gCs[k], start, k)
            store(gQ, gQs[k], start, k)
