/* One lane: the vectors of native/functions.h as single numbers. */
#define INLINE static inline

typedef float vf;

typedef int32_t vi;

INLINE vf splat(float x) { return x; }

INLINE int32_t as_int(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

INLINE float as_float(int32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE int32_t to_int(float x) { return x == x ? (int32_t)x : 0; }

INLINE float choose(int32_t test, float a, float b) { return test ? a : b; }

INLINE float absolute(float x) { return fabsf(x); }

/* NaN stays NaN. */
INLINE float at_most(float x, float high) { return x > high ? high : x; }

INLINE float at_least(float x, float low) { return x < low ? low : x; }

/* Nearest whole number, ties to even, of |x| below 2^22. */
INLINE float nearest(float x) {
    const float magic = 12582912.0f;
    return (x + magic) - magic;
}
