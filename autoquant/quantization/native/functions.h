/* exp, sigmoid and tanh of vectors, to about two units in the last place; NaN stays NaN. An exported
 * C program has the same functions, of single numbers: see autoquant/exports/c/library.py. */
#ifndef FUNCTIONS_H
#define FUNCTIONS_H

#include "lanes.h"

/* e^x = 2^n e^r with |r| <= ln(2)/2, and a polynomial of degree 6 for e^r. */
INLINE vf exponential(vf x) {
    x = at_least(at_most(x, splat(88.0f)), splat(-87.0f));
    vf n = nearest(x * 1.44269504f);
    vf r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vf y = splat(1.9875691500e-4f);
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * (r * r) + r + 1.0f;
    return y * as_float((to_int(n) + 127) << 23);
}

INLINE vf sigmoid(vf x) { return 1.0f / (1.0f + exponential(-x)); }

/* An odd polynomial near zero, where 1 - 2 / (1 + e^2x) would lose digits. */
INLINE vf hyperbolic(vf x) {
    vf a = absolute(x);
    vf far = 1.0f - 2.0f / (1.0f + exponential(a + a));
    far = as_float(as_int(far) | (as_int(x) & (int32_t)0x80000000));
    vf z = x * x;
    vf y = splat(-5.70498872745e-3f);
    y = y * z + 2.06390887954e-2f;
    y = y * z - 5.37397155531e-2f;
    y = y * z + 1.33314422036e-1f;
    y = y * z - 3.33332819422e-1f;
    return choose(a < 0.625f, x + x * z * y, far);
}

#endif
