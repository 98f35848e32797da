/* The two inner products: integer codes (forward) and floats (backward), a few rows at a time.
 *
 * A tile is R rows of the left factor times one block of the right one; all its sums are in
 * registers. R and G are constants where a tile is called, so the compiler unrolls the loops over them.
 */
#ifndef TILE_H
#define TILE_H

#include "matrix.h"

#ifdef AQ_AVX512
enum { MOST_ROWS = 6, SPAN = 4 }; /* of 32 registers: 24 sums */
#else
enum { MOST_ROWS = 2, SPAN = 2 }; /* of 16 registers: 8 integer sums; 3 rows were slower */
#endif
enum { FLOAT_ROWS = 6 };

/* How many products of pairs fit into 16 bits one after another; 0: not even one does. */
INLINE int burst_of(int max_code, int top) {
    int burst = max_code && top ? 32767 / (2 * max_code * top) : 1 << 14;
    return burst;
}

/* Four codes, the same in each lane. */
INLINE vc four_codes(const uint8_t *a) {
    int32_t four;
    memcpy(&four, a, 4);
    return (vc)splat_int(four);
}

#ifndef AQ_AVX2 /* the sum of four products in one instruction */

typedef vi partial;
INLINE partial with_products(partial sum, vc a, vc w) { return dot(sum, a, w); }
INLINE vi widened(partial sum) { return sum; }
#define IN_REGISTER(x) (void)(x)

INLINE void dots(int G, int R, const uint8_t *w, const uint8_t *a, size_t stride, int groups,
                 int burst, vi *sums) {
    (void)burst;
    vi sum[MOST_ROWS][4];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int g = 0; g < G; g++) sum[r][g] = sums[r * G + g];
    for (int k = 0; k < groups; k++, w += G * 4 * V) {
        UNROLL for (int r = 0; r < R; r++) {
            int32_t four;
            memcpy(&four, a + r * stride + 4 * k, 4);
            vc codes = (vc)splat_int(four);
            UNROLL for (int g = 0; g < G; g++)
                sum[r][g] = dot(sum[r][g], codes, (vc)load_int(w + g * 4 * V));
        }
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int g = 0; g < G; g++) sums[r * G + g] = sum[r][g];
}

#else /* AVX2 adds pairs in 16 bits; a burst of these is widened to 32 bits at once */

typedef vs partial;
INLINE partial with_products(partial sum, vc a, vc w) { return sum + pairs(a, w); }
INLINE vi widened(partial sum) { return add_pairs(sum, (vs){0} + 1); }
#define IN_REGISTER(x) __asm__("" : "+x"(x)) /* else it is loaded again for each use */

INLINE void burst_dots(int G, int R, const uint8_t *w, const uint8_t *a, size_t stride, int groups,
                       vi *sums) {
    partial sum[MOST_ROWS][4];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int g = 0; g < G; g++) sum[r][g] = (partial){0};
    for (int k = 0; k < groups; k++, w += G * 4 * V) {
        vc codes[MOST_ROWS];
        UNROLL for (int r = 0; r < R; r++) codes[r] = four_codes(a + r * stride + 4 * k);
        UNROLL for (int g = 0; g < G; g++) {
            vc weights = (vc)load_int(w + g * 4 * V);
            IN_REGISTER(weights);
            UNROLL for (int r = 0; r < R; r++)
                sum[r][g] = with_products(sum[r][g], codes[r], weights);
        }
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int g = 0; g < G; g++)
            sums[r * G + g] += widened(sum[r][g]);
}

/* Codes of 8 and 8 bits: a pair may not fit into 16 bits, so even and odd codes are widened. */
INLINE void wide_dots(int G, int R, const uint8_t *w, const uint8_t *a, size_t stride, int groups,
                      vi *sums) {
    for (int k = 0; k < groups; k++, w += G * 4 * V) {
        UNROLL for (int g = 0; g < G; g++) {
            vs weights = (vs)load_int(w + g * 4 * V);
            vs even = (weights << 8) >> 8, odd = weights >> 8;
            UNROLL for (int r = 0; r < R; r++) {
                int32_t four;
                memcpy(&four, a + r * stride + 4 * k, 4);
                vs codes = (vs)splat_int(four);
                sums[r * G + g] += add_pairs(codes & 0xff, even)
                                   + add_pairs((codes >> 8) & 0xff, odd);
            }
        }
    }
}

INLINE void dots(int G, int R, const uint8_t *w, const uint8_t *a, size_t stride, int groups,
                 int burst, vi *sums) {
    vi sum[MOST_ROWS * 4];
    UNROLL for (int i = 0; i < R * G; i++) sum[i] = sums[i];
    if (burst == 0) wide_dots(G, R, w, a, stride, groups, sum);
    else
        for (int k = 0; k < groups; k += burst) {
            int count = groups - k < burst ? groups - k : burst;
            burst_dots(G, R, w + (size_t)k * G * 4 * V, a + 4 * k, stride, count, sum);
        }
    UNROLL for (int i = 0; i < R * G; i++) sums[i] = sum[i];
}

#endif

/* sums[row][G] += codes of any number of rows times one panel of int8 codes. */
INLINE void panel_dots(int G, const uint8_t *w, const uint8_t *a, size_t stride, int rows,
                       int groups, int burst, vi *sums) {
    while (rows > 0) {
        int tiles = (rows + MOST_ROWS - 1) / MOST_ROWS, R = (rows + tiles - 1) / tiles;
        switch (R) {
        case 1: dots(G, 1, w, a, stride, groups, burst, sums); break;
        case 2: dots(G, 2, w, a, stride, groups, burst, sums); break;
#if V == 16
        case 3: dots(G, 3, w, a, stride, groups, burst, sums); break;
        case 4: dots(G, 4, w, a, stride, groups, burst, sums); break;
        case 5: dots(G, 5, w, a, stride, groups, burst, sums); break;
        case 6: dots(G, 6, w, a, stride, groups, burst, sums); break;
#endif
        }
        rows -= R, a += R * stride, sums += R * G;
    }
}

/* The same from one bit-plane, unpacked in registers: for a row or two, where storing the unpacked
 * codes would cost more than using them. The products of two vectors of 4-bit codes fit into 16 bits. */
INLINE void plane_dots(int G, int R, int width, const uint8_t *w, const uint8_t *a, size_t stride,
                       int chunks, vi *sums) {
    const int per_byte = 8 / width, at_once = width == 1 ? 1 : 2;
    const vi mask = splat_int(0x01010101 * ((1 << width) - 1));
    vi sum[2][4];
    UNROLL for (int i = 0; i < R * G; i++) sum[i / G][i % G] = sums[i];
    for (int k = 0; k < chunks * width; k += at_once) {
        partial part[2][4];
        UNROLL for (int i = 0; i < R * G; i++) part[i / G][i % G] = (partial){0};
        UNROLL for (int q = 0; q < at_once; q++, w += G * 4 * V, a += per_byte * 4) {
            vc codes[2][8];
            UNROLL for (int i = 0; i < R * per_byte; i++)
                codes[i / per_byte][i % per_byte] =
                    four_codes(a + (i / per_byte) * stride + i % per_byte * 4);
            UNROLL for (int g = 0; g < G; g++) {
                vu packed = (vu)load_int(w + g * 4 * V);
                IN_REGISTER(packed);
                UNROLL for (int i = 0; i < per_byte; i++) {
                    vc weights = (vc)((vi)(packed >> (width * i)) & mask);
                    UNROLL for (int r = 0; r < R; r++)
                        part[r][g] = with_products(part[r][g], codes[r][i], weights);
                }
            }
        }
        UNROLL for (int i = 0; i < R * G; i++) sum[i / G][i % G] += widened(part[i / G][i % G]);
    }
    UNROLL for (int i = 0; i < R * G; i++) sums[i] = sum[i / G][i % G];
}

#define PLANES(R)                                                                          \
    switch (m->bits) {                                                                     \
    case 1: plane_dots(G, R, 1, w, a, stride, groups / CHUNK, sums); return;               \
    case 2: plane_dots(G, R, 2, w, a, stride, groups / CHUNK, sums); return;               \
    case 4: plane_dots(G, R, 4, w, a, stride, groups / CHUNK, sums); return;               \
    }

/* The first values of a block's sums, so that they become sums of code * (a + low_a): the codes `a` of
 * the left factor are unsigned. Where those of the matrix are used unsigned too, `low` is its lowest
 * code, else 0. row_sums: of a + low_a. */
INLINE void start_sums(int G, const matrix *m, int block, int rows, int low_a, int low,
                       const int32_t *row_sums, vi *sums) {
    const int32_t *block_sums = m->sums + (size_t)block * G * V;
    for (int r = 0; r < rows; r++) {
        int32_t rest = low ? low * (row_sums[r] - low_a * m->columns) : 0;
        for (int g = 0; g < G; g++) sums[r * G + g] = load_int(block_sums + g * V) * low_a + rest;
    }
}

enum { UNPACKED_CHUNKS = 8 }; /* chunks that are unpacked at once: they stay in the nearest cache */

/* Unpack chunks; returns the address behind them. Bits and gates are constants in each case, so that
 * the loops unroll. */
static __attribute__((noinline)) const uint8_t *unpack_chunks(const matrix *m, const uint8_t *w,
                                                              int chunks, uint8_t *codes) {
    const int G = m->gates;
    for (int k = 0; k < chunks; k++, codes += CHUNK * G * 4 * V, w += (size_t)m->bits * G * 4 * V)
        switch (m->bits * 2 + (G == 3)) {
#define EACH(bits)                                                                         \
    case bits * 2: unpack(w, codes, 4, bits, m->low); break;                               \
    case bits * 2 + 1: unpack(w, codes, 3, bits, m->low); break;
            EACH(1) EACH(2) EACH(3) EACH(4) EACH(5) EACH(6) EACH(7)
#undef EACH
        }
    return w;
}

/* The same codes in 8 bits each, in `codes`, a workspace of unpacked_bytes(m). The last chunk of a
 * block may be longer than its columns; the next block then overwrites its end. */
INLINE matrix unpacked(const matrix *m, uint8_t *codes) {
    matrix copy = *m;
    copy.bits = 8, copy.codes = codes;
    for (int block = 0; block < m->blocks; block++)
        unpack_chunks(m, m->codes + (size_t)block * panel_bytes(m), groups_of(m) / CHUNK,
                      codes + (size_t)block * panel_bytes(&copy));
    return copy;
}

INLINE size_t unpacked_bytes(const matrix *m) {
    return (size_t)(m->blocks * groups_of(m) + CHUNK) * m->gates * 4 * V;
}

/* Exact sums [rows][G] of a block of a matrix in any number of bits times rows of codes. */
INLINE void any_dots(int G, const matrix *m, int block, const uint8_t *a, size_t stride, int rows,
                     int low_a, const int32_t *row_sums, int burst, vi *sums) {
    const uint8_t *w = m->codes + (size_t)block * panel_bytes(m);
    const int groups = groups_of(m);
    const int plane = m->bits == 1 || m->bits == 2 || m->bits == 4;
    const int direct = plane && rows <= 2;
    start_sums(G, m, block, rows, low_a, direct ? m->low : 0, row_sums, sums);
    if (m->bits == 8) {
        panel_dots(G, w, a, stride, rows, groups, burst, sums);
        return;
    }
    if (direct && rows == 1) PLANES(1)
    if (direct) PLANES(2)
    enum { MOST = UNPACKED_CHUNKS * CHUNK };
    uint8_t codes[MOST * 4 * 4 * V] __attribute__((aligned(64)));
    for (int k = 0; k < groups; k += MOST) {
        int count = groups - k < MOST ? groups - k : MOST;
        w = unpack_chunks(m, w, count / CHUNK, codes);
        panel_dots(G, codes, a + 4 * k, stride, rows, count, burst, sums);
    }
}

/* Not inlined: all callers share one copy for each number of gates. */
static __attribute__((noinline)) void block_dots(const matrix *m, int block, const uint8_t *a,
                                                 size_t stride, int rows, int low_a,
                                                 const int32_t *row_sums, int burst, vi *sums) {
    if (m->gates == 3) any_dots(3, m, block, a, stride, rows, low_a, row_sums, burst, sums);
    else any_dots(4, m, block, a, stride, rows, low_a, row_sums, burst, sums);
}

/* --- floats ------------------------------------------------------------------------------------ */

/* sums[r][SPAN] = left [R, depth] times panel [depth, SPAN * V]. */
INLINE void products(int R, const float *panel, const float *left, size_t stride, int depth,
                     vf *sums) {
    vf sum[FLOAT_ROWS][SPAN];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int s = 0; s < SPAN; s++) sum[r][s] = (vf){0};
    for (int k = 0; k < depth; k++, panel += SPAN * V) {
        vf w[SPAN];
        UNROLL for (int s = 0; s < SPAN; s++) w[s] = load(panel + s * V);
        UNROLL for (int r = 0; r < R; r++) {
            vf x = splat(left[r * stride + k]);
            UNROLL for (int s = 0; s < SPAN; s++) sum[r][s] += x * w[s];
        }
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int s = 0; s < SPAN; s++) sums[r * SPAN + s] = sum[r][s];
}

/* The same in bfloat16: pairs along the depth are stored together in left [R, depth] and in the panel. */
INLINE void products_bf16(int R, const uint16_t *panel, const uint16_t *left, size_t stride,
                          int depth, vf *sums) {
    vf sum[FLOAT_ROWS][SPAN];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int s = 0; s < SPAN; s++) sum[r][s] = (vf){0};
    for (int k = 0; k < depth; k += 2, panel += 2 * SPAN * V) {
        UNROLL for (int r = 0; r < R; r++) {
            int32_t pair;
            memcpy(&pair, left + r * stride + k, 4);
            UNROLL for (int s = 0; s < SPAN; s++)
                sum[r][s] = dot_bf16(sum[r][s], splat_int(pair), load_int(panel + 2 * s * V));
        }
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int s = 0; s < SPAN; s++) sums[r * SPAN + s] = sum[r][s];
}

#define EACH_FLOAT_TILE(function)                                                        \
    switch (R) {                                                                         \
    case 1: function(1, panel, left, stride, depth, sums); break;                        \
    case 2: function(2, panel, left, stride, depth, sums); break;                        \
    case 3: function(3, panel, left, stride, depth, sums); break;                        \
    case 4: function(4, panel, left, stride, depth, sums); break;                        \
    case 5: function(5, panel, left, stride, depth, sums); break;                        \
    case 6: function(6, panel, left, stride, depth, sums); break;                        \
    }

/* Not inlined: all cells share one copy of the tiles. */
static __attribute__((noinline)) void float_tile(int R, const void *panel, const void *left,
                                                 size_t stride, int depth, int bf16, vf *sums) {
    if (bf16) EACH_FLOAT_TILE(products_bf16)
    else EACH_FLOAT_TILE(products)
}

#endif
