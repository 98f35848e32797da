/* Vectors of V floats, and the few operations on them that differ between instruction sets.
 *
 * Written with the compiler's own vector types: one source for every processor. The file that includes
 * this defines its instruction set (AQ_AVX512, AQ_AVX2 or neither).
 */
#ifndef LANES_H
#define LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef AQ_AVX512
#define V 16
#else
#define V 8
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

typedef float vf __attribute__((vector_size(4 * V)));
typedef int32_t vi __attribute__((vector_size(4 * V)));
typedef uint32_t vu __attribute__((vector_size(4 * V)));
typedef int16_t vs __attribute__((vector_size(4 * V)));
typedef int8_t vc __attribute__((vector_size(4 * V))); /* four codes in each lane */

INLINE vf splat(float x) { return x - (vf){0}; }
INLINE vi splat_int(int32_t x) { return x - (vi){0}; }
INLINE vf to_float(vi x) { return __builtin_convertvector(x, vf); }
INLINE vi to_int(vf x) { return __builtin_convertvector(x, vi); }
INLINE vf as_float(vi x) { return (vf)x; } /* the same bits */
INLINE vi as_int(vf x) { return (vi)x; }

INLINE vf load(const float *p) { vf v; memcpy(&v, p, sizeof v); return v; }
INLINE vi load_int(const void *p) { vi v; memcpy(&v, p, sizeof v); return v; }
INLINE void store(float *p, vf v) { memcpy(p, &v, sizeof v); }
INLINE void store_int(void *p, vi v) { memcpy(p, &v, sizeof v); }

/* The lanes of a where mask is all ones, else those of b. */
INLINE vf choose(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }
INLINE vf absolute(vf x) { return (vf)((vi)x & 0x7fffffff); }

/* NaN stays NaN: comparisons with it are false. */
INLINE vf at_most(vf x, vf high) { return choose(x > high, high, x); }
INLINE vf at_least(vf x, vf low) { return choose(x < low, low, x); }

/* Nearest whole number, ties to even, of |x| below 2^22. */
INLINE vf nearest(vf x) {
    const vf magic = splat(12582912.0f);
    return (x + magic) - magic;
}

INLINE float total(vf x) {
    float sum = 0;
    for (int i = 0; i < V; i++) sum += x[i];
    return sum;
}

INLINE int32_t total_int(vi x) {
    int32_t sum = 0;
    for (int i = 0; i < V; i++) sum += x[i];
    return sum;
}

INLINE int any(vi mask) { return total_int(mask) != 0; } /* of at most 2^31 lanes */

/* The first n lanes; the others are zero, and their memory is not touched. */
#if defined(AQ_AVX512) && !defined(AQ_EMULATED)
INLINE vf load_some(const float *p, int n) {
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
INLINE void store_some(float *p, vf v, int n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
}
#elif defined(AQ_AVX2)
INLINE vi lanes_below(int n) { return (vi){0, 1, 2, 3, 4, 5, 6, 7} < n; }
INLINE vf load_some(const float *p, int n) {
    return (vf)_mm256_maskload_ps(p, (__m256i)lanes_below(n));
}
INLINE void store_some(float *p, vf v, int n) {
    _mm256_maskstore_ps(p, (__m256i)lanes_below(n), (__m256)v);
}
#else
INLINE vf load_some(const float *p, int n) {
    vf v = {0};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}
INLINE void store_some(float *p, vf v, int n) {
    for (int i = 0; i < n; i++) p[i] = v[i];
}
#endif

INLINE vf load_lanes(const float *p, int n) { return n == V ? load(p) : load_some(p, n); }
INLINE void store_lanes(float *p, vf v, int n) {
    if (n == V) store(p, v);
    else store_some(p, v, n);
}

/* The lowest byte of each lane; writes V bytes. */
#if defined(AQ_AVX512) && !defined(AQ_EMULATED)
INLINE void store_bytes(void *p, vi x) {
    __m128i bytes = _mm512_cvtepi32_epi8((__m512i)x);
    memcpy(p, &bytes, V);
}
#elif defined(AQ_AVX2)
INLINE void store_bytes(void *p, vi x) {
    const vc first = {0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                      0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    vi bytes = (vi)_mm256_shuffle_epi8((__m256i)x, (__m256i)first);
    int32_t two[2] = {bytes[0], bytes[4]};
    memcpy(p, two, V);
}
#else
INLINE void store_bytes(void *p, vi x) {
    int8_t bytes[V];
    for (int i = 0; i < V; i++) bytes[i] = (int8_t)x[i];
    memcpy(p, bytes, V);
}
#endif

/* Four unsigned codes (the same in each lane) times four signed ones, added up in each lane. */
#if defined(AQ_AVX512)
INLINE vi dot(vi sum, vc a, vc w) {
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)w);
}
#elif defined(AQ_AVX2)
INLINE vs pairs(vc a, vc w) { return (vs)_mm256_maddubs_epi16((__m256i)a, (__m256i)w); }
INLINE vi add_pairs(vs a, vs b) { return (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
#else
INLINE vi dot(vi sum, vc a, vc w) {
    vs even = (vs)((vs)a & 0xff) * (((vs)w << 8) >> 8); /* 255 * 128 fits in 16 bits */
    vs odd = (((vs)a >> 8) & 0xff) * ((vs)w >> 8);
    sum += (((vi)even << 16) >> 16) + ((vi)even >> 16);
    return sum + (((vi)odd << 16) >> 16) + ((vi)odd >> 16);
}
#endif

/* Two bfloat16 numbers of a times two of w, added up in each lane. */
#if defined(AQ_AVX512) && !defined(AQ_WITHOUT_BF16)
INLINE vf dot_bf16(vf sum, vi a, vi w) {
    return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)w);
}
#else
INLINE vf dot_bf16(vf sum, vi a, vi w) {
    vf low = (vf)(a << 16) * (vf)(w << 16);
    return sum + low + (vf)(a & (int32_t)0xffff0000) * (vf)(w & (int32_t)0xffff0000);
}
#endif

#endif
